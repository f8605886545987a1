"""Several labels of a text as a zero or a one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thex_hf.conversion.regression import as_number
from thex_hf.conversion.table import Refuse


def is_hot(lists: Sequence[Sequence[Any]], count: int | None, refuse: Refuse) -> bool:
    """Whether lists of labels are zeros and ones for each class, not classes.

    They are if every row has as many zeros and ones as there are classes, and if they cannot be
    classes: written as ``true`` or ``1.0``, or with a number that is there twice.

    Args:
        lists: labels of each text.
        count: how many classes there are, if known.
        refuse: makes the error for a row.

    Raises:
        DataError: they may be either.
    """
    size = len(lists[0])
    if size < 1 or not all(len(own) == size and all(map(_is_bit, own)) for own in lists):
        return False
    if count is not None and size != count:
        if size > 1 and any(isinstance(value, float) for own in lists for value in own):
            raise refuse(0, f"has {size} zeros or ones, and there are {count} classes")
        return False
    if size == 1 and count is None:
        return False  # one class each
    if any(isinstance(value, bool | float) for own in lists for value in own):
        return True
    if any(len({_bit(value) for value in own}) < size for own in lists):
        return True
    raise refuse(
        0,
        f"has the labels {list(lists[0])!r}, as in all rows either positions of classes or a zero "
        f"or one for each; write names of classes, or true and false",
    )


def ids_of_hot(lists: Sequence[Sequence[Any]]) -> list[tuple[int, ...]]:
    """The classes that have a one, of each text."""
    return [tuple(i for i, value in enumerate(own) if _bit(value)) for own in lists]


def _is_bit(value: Any) -> bool:
    return isinstance(value, bool) or as_number(value) in (0.0, 1.0)


def _bit(value: Any) -> bool:
    return value if isinstance(value, bool) else as_number(value) == 1.0
