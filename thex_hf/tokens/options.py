"""Options of tokenising, as transformers spells them, and how many tokens a text may have."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from thex_hf.circuits.shape import BUCKETS
from thex_hf.errors import InputError, OptionError

CUTS = ("longest_first", "only_first", "only_second", "do_not_truncate")
PADDINGS = ("longest", "max_length", "do_not_pad")


@dataclass(frozen=True)
class TokenOptions:
    """What to do with a text on its way to tokens.

    Args:
        truncation: cut a text that is too long: True or ``longest_first``, ``only_first`` or
            ``only_second`` of a pair; False, None or ``do_not_truncate`` to refuse it.
        max_length: the most tokens; None for as many as model and circuit take.
        padding: taken and of no effect: each text is computed by itself.
        add_special_tokens: False leaves out ``[CLS]`` and the like.

    Raises:
        OptionError: a value that is not on offer.
    """

    truncation: Any = False
    max_length: int | None = None
    padding: Any = False
    add_special_tokens: bool = True

    def __post_init__(self) -> None:
        for name, offered in (("truncation", CUTS), ("padding", PADDINGS)):
            value = getattr(self, name)
            if not (value is None or isinstance(value, bool) or value in offered):
                near = difflib.get_close_matches(str(value), offered, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise OptionError(
                    f"{name} must be True, False or one of {', '.join(offered)}, got "
                    f"{value!r}{hint}"
                )
        most = self.max_length
        if most is not None and (type(most) is not int or most < 1):
            raise OptionError(f"max_length must be a positive whole number, got {most!r}")
        if not isinstance(self.add_special_tokens, bool):
            raise OptionError(
                f"add_special_tokens must be True or False, got {self.add_special_tokens!r}"
            )

    @property
    def cut(self) -> str | None:
        """How to cut a text that is too long; None to refuse it."""
        if self.truncation in (None, False, "do_not_truncate"):
            return None
        if self.truncation is True:
            return CUTS[0]
        return str(getattr(self.truncation, "value", self.truncation))


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
