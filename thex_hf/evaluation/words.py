"""From logits of tokens to tags of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thex_hf.errors import InputError
from thex_hf.tokens.options import TokenOptions
from thex_hf.tokens.tokenise import tokenise
from thex_hf.tokens.words import first_tokens, join_words

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
