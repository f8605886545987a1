"""From logits and labels to what metrics compare: classes, numbers, tags of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thex_hf.errors import InputError
from thex_hf.evaluation.base import MULTILABEL, statistics
from thex_hf.evaluation.metrics import Agreement
from thex_hf.evaluation.reading import kind_of, label_names
from thex_hf.tokens.options import TokenOptions
from thex_hf.tokens.texts import first_tokens, join_words
from thex_hf.tokens.tokenise import tokenise


class Answers:
    """Reads what a model says out of its logits.

    Args:
        pipe: a pipeline of ours.
        words: of each text, for a model that classifies tokens.
        join_by: what stands between the words.
    """

    def __init__(
        self, pipe: Any, words: Sequence[Sequence[str]] | None = None, join_by: str = " "
    ) -> None:
        self.kind = kind_of(pipe.model.config, pipe.model.every_token)
        self.names = label_names(pipe.model.config)
        self._tokenizer, self._words, self._join = pipe.tokenizer, words, join_by

    def predictions(self, logits: Sequence[Any]) -> list[Any]:
        """What the model says of each text.

        Args:
            logits: of each text, as the pipeline's reports have them.

        Returns:
            ``classes``: the class of the largest logit; ``numbers``: the logit itself;
            ``multi``: a one for each positive logit, that is, for a probability above a half;
            ``tags``: a tag for each word.
        """
        if self.kind == "tags":
            return tags_of(self._of_words(logits), self.names)
        rows = np.asarray(logits, np.float64)
        if self.kind == "numbers":
            return [float(x) for x in rows[:, 0]]
        if self.kind == "multi":
            return [[int(x > 0) for x in row] for row in rows]
        return [int(x) for x in rows.argmax(axis=-1)]

    def references(self, labels: Sequence[Any]) -> list[Any]:
        """Labels in the form of :meth:`predictions`, from class ids or numbers."""
        if self.kind == "tags":
            return [[self.names[i] for i in own] for own in labels]
        if self.kind == "multi":
            return [[int(i in set(own)) for i in range(len(self.names))] for own in labels]
        return [float(x) if self.kind == "numbers" else int(x) for x in labels]

    def gap(self, own: Sequence[Any], clear: Sequence[Any]) -> dict[str, float]:
        """How far logits are from the clear model's: see :class:`Agreement`.

        Of tags each word counts, with the logits of its first token.
        """
        if self.kind == "tags":
            own, clear = (
                [row for text in self._of_words(rows) for row in text if row is not None]
                for rows in (own, clear)
            )
        metric = Agreement(MULTILABEL if self.kind == "multi" else None)
        return metric.compute(predictions=own, references=clear) or {}

    def _of_words(self, logits: Sequence[Any]) -> list[list[list[float] | None]]:
        assert self._words is not None  # a token classifier's data have words
        return word_logits(self._tokenizer, self._words, logits, self._join)


def share_interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share seen in ``count`` texts, after Wilson."""
    ends = statistics.binomtest(round(share * count), count).proportion_ci(method="wilson")
    return float(ends.low), float(ends.high)


OUTSIDE = "O"


def word_logits(
    tokenizer: Any, words: Sequence[Sequence[str]], logits: Sequence[Any], join_by: str = " "
) -> list[list[list[float] | None]]:
    """The logits of each word: those of its first token, as in training.

    Args:
        tokenizer: a fast one.
        words: of each text.
        logits: of each text's true tokens, shape ``(tokens, labels)``, special ones included,
            where the text was the words joined, perhaps cut.
        join_by: what stood between the words.

    Returns:
        For each text and word one number a label; None for words without a token: those beyond
        the cut, and those that the tokenizer drops.

    Raises:
        InputError: a tokenizer that cannot tell where its tokens stand, or logits of other texts.
    """
    if not tokenizer.is_fast:
        raise InputError("tags of words need a fast tokenizer (tokenizer.json); this one is slow")
    found: list[list[list[float] | None]] = []
    for number, (own, rows) in enumerate(zip(words, logits, strict=True), start=1):
        text, places = join_words(own, join_by)
        tokens = tokenise(tokenizer, text, limit=len(rows), options=TokenOptions(truncation=True))
        if len(tokens) != len(rows):
            raise InputError(
                f"text {number} has {len(tokens)} tokens and logits for {len(rows)}: these logits "
                f"are of other texts, or of another tokenizer"
            )
        firsts = first_tokens(tokens.spans or (), places)
        found.append([None if first is None else list(rows[first]) for first in firsts])
    return found


def tags_of(rows: Sequence[Sequence[list[float] | None]], names: Sequence[str]) -> list[list[str]]:
    """The tag of each word: its largest logit's, and ``O`` for words without a token."""
    return [
        [OUTSIDE if own is None else names[int(np.argmax(own))] for own in text] for text in rows
    ]
