"""The texts to score a model on, and its answers in the form of their labels.

Which labels a model needs, which of the texts to take, and from logits to what metrics compare:
classes, numbers, tags of words.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from thex_hf.conversion.data.collecting import KNOWN_COLUMNS, NAME_COLUMN, collect
from thex_hf.conversion.data.naming import align_labels, select_texts
from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.data.table import Place, Table
from thex_hf.errors import InputError, OptionError
from thex_hf.evaluation.base import MULTILABEL, statistics
from thex_hf.evaluation.metrics import Agreement
from thex_hf.tables.sets import is_data_set, table_of
from thex_hf.tokens.options import TokenOptions
from thex_hf.tokens.texts import first_tokens, join_words
from thex_hf.tokens.tokenise import tokenise

Data: TypeAlias = str | os.PathLike[str] | LabelledTexts | Iterable[Mapping[str, Any]]
OUTSIDE = "O"


def kind_of(config: Any, every_token: bool = False) -> str:
    """What a model of that configuration answers: ``classes``, ``numbers``, ``multi`` or ``tags``.

    Args:
        config: of the model.
        every_token: the model classifies tokens, not texts.
    """
    if every_token:
        return "tags"
    if config.problem_type == "regression" or config.num_labels == 1:
        return "numbers"
    return "multi" if config.problem_type == "multi_label_classification" else "classes"


def label_names(config: Any) -> list[str]:
    """Names of a model's classes, in the order of its logits."""
    return [str(config.id2label[i]) for i in range(config.num_labels)]


def read(
    data: Data, config: Any, split: str, *, every_token: bool = False, on_error: str = "raise"
) -> LabelledTexts:
    """Texts whose labels fit the model.

    Args:
        data: a file, the name or folder of a data set, or a data set of ``datasets``, see
            :func:`thex_hf.conversion.data.reading.read_texts`; texts read before, whose class names
            are the model's in any order; or rows with
            ``text``, perhaps ``text_pair``, and ``label`` (a class position or name, a number for
            a regression model, a list for one with several classes a text); or, for a model that
            classifies tokens, ``tokens`` and ``tags``.
        config: of the model.
        split: which split of a named data set.
        every_token: the model classifies tokens.
        on_error: ``skip`` leaves out rows whose text is missing or empty; ``raise`` refuses.

    Raises:
        ConversionError: missing file or column, no rows, or class names that are not the model's.
        DataError: a row with an unusable text, or with a label that fits nothing.
        InputError: labels of another kind than the model's, or odd rows.
        OptionError: ``on_error`` is not on offer.
    """
    kind, names = kind_of(config, every_token), label_names(config)
    wanted = None if kind == "numbers" else names
    if isinstance(data, Mapping) and split in data:  # all splits of a data set
        data = data[split]
    if isinstance(data, LabelledTexts):
        if not len(data):
            raise InputError("there are no texts to score; the data are empty")
        texts = select_texts(data, on_error)
    elif isinstance(data, str | os.PathLike):
        texts = read_texts(
            Path(data) if isinstance(data, os.PathLike) else data,
            split=split,
            label_names=wanted,
            regression=wanted is None,
            one_class=True,
            on_error=on_error,
        )
    else:
        table = (
            table_of(data, "the data set", KNOWN_COLUMNS)
            if is_data_set(data)
            else _rows(list(data), kind)
        )
        texts = collect(table, wanted, wanted is None, one_class=True, on_error=on_error)
    if texts.kind != kind:
        raise InputError(
            f"the model answers with {kind}, the labels of the data are {texts.kind}; take data "
            f"of the model's task"
        )
    return align_labels(texts, names)


def spread(texts: LabelledTexts, limit: int | None) -> LabelledTexts:
    """At most ``limit`` texts, spread evenly over all, in their order; all if None.

    Raises:
        OptionError: ``limit`` is less than one.
    """
    if limit is None:
        return texts
    if not isinstance(limit, int) or limit < 1:
        raise OptionError(f"limit must be at least 1, got {limit}")
    total = len(texts)
    return texts.pick([i * total // limit for i in range(limit)] if limit < total else range(total))


def inputs_of(texts: LabelledTexts) -> list[Any]:
    """What the pipeline takes: texts, or dictionaries where there are pairs.

    Words are joined by blanks, as they are for training.
    """
    if texts.words is not None:
        return [join_words(words)[0] for words in texts.words]
    if texts.pairs is None:
        return list(texts.texts)
    return [
        {"text": first, "text_pair": second}
        for first, second in zip(texts.texts, texts.pairs, strict=True)
    ]


def _rows(rows: Sequence[Any], kind: str) -> Table:
    """A table of rows that were given, with the columns that suit the model."""
    text, label = ("tokens", "tags") if kind == "tags" else ("text", "label")
    if not rows:
        raise InputError("there are no texts to score; the data are empty")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping) or not {text, label} <= {*row}:
            raise InputError(
                f"each row should be a dictionary with {text!r} and {label!r}, got {row!r} as row "
                f"{number}"
            )
    column = "labels" if kind == "multi" else label
    paired = kind != "tags" and any(row.get("text_pair") is not None for row in rows)
    named = all(NAME_COLUMN in row for row in rows)
    entries = [
        {text: row[text], column: row[label]}
        | ({"text_pair": row.get("text_pair")} if paired else {})
        | ({NAME_COLUMN: row[NAME_COLUMN]} if named else {})
        for row in rows
    ]
    return Table("", tuple(entries[0]), entries, [Place(i) for i in range(1, len(rows) + 1)])


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
