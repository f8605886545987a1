"""From logits of tokens to tags of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thex_hf.errors import InputError
from thex_hf.pipelines.text_classification import LONGEST

OUTSIDE = "O"


def word_logits(
    tokenizer: Any, words: Sequence[Sequence[str]], logits: Sequence[Any], join_by: str = " "
) -> list[list[list[float] | None]]:
    """The logits of each word: those of its first token, as in training.

    Args:
        tokenizer: a fast one.
        words: of each text.
        logits: of each text's true tokens, shape ``(tokens, labels)``, special ones included,
            where the text was the words joined, cut to 128 tokens.
        join_by: what stood between the words.

    Returns:
        For each text and word one number a label; None for words without a token, which are
        those beyond the cut.

    Raises:
        InputError: a tokenizer that cannot tell where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise InputError("tags of words need a fast tokenizer (tokenizer.json); this one is slow")
    longest = min(LONGEST, int(tokenizer.model_max_length))
    found = []
    for own, rows in zip(words, logits, strict=True):
        encoded = tokenizer(
            join_by.join(own), truncation=True, max_length=longest, return_offsets_mapping=True
        )
        spans = encoded["offset_mapping"]
        starts = {
            start: row
            for (start, end), row in reversed([*zip(spans, rows, strict=True)])
            if end > start
        }
        found.append(_of_words(own, starts, len(join_by)))
    return found


def tags_of(rows: Sequence[Sequence[list[float] | None]], names: Sequence[str]) -> list[list[str]]:
    """The tag of each word: its largest logit's, and ``O`` for words beyond the cut."""
    return [
        [OUTSIDE if own is None else names[int(np.argmax(own))] for own in text] for text in rows
    ]


def _of_words(
    words: Sequence[str], starts: dict[int, list[float]], gap: int
) -> list[list[float] | None]:
    found, begin = [], 0
    for word in words:
        places = range(begin, begin + len(word))
        found.append(next((starts[place] for place in places if place in starts), None))
        begin += len(word) + gap
    return found
