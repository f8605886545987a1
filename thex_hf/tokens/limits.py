"""How many tokens a text may have."""

from __future__ import annotations

from thex_hf.encrypted.shape import BUCKETS
from thex_hf.errors import InputError

LONGEST = BUCKETS[-1]
"""Tokens of the longest text that a circuit takes, special tokens included."""
CUT = "shorten it, or pass truncation=True to classify its beginning"


def limit_of(positions: int, most: float | None = None) -> int:
    """The most tokens that circuit, model and tokenizer take.

    Args:
        positions: rows of the model's position table.
        most: the tokenizer's ``model_max_length``; it has none if that is None or not positive.
    """
    own = most if most is not None and most >= 1 else LONGEST
    return int(min(LONGEST, positions, own))


def check_length(count: int, limit: int, cure: str = CUT) -> None:
    """Refuse a text with more tokens than there may be.

    Raises:
        InputError: says how many there are and what to do.
    """
    if count > limit:
        raise InputError(f"the text has {count} tokens, {limit} are the most; {cure}")
