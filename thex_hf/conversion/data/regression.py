"""Labels that are numbers to predict, and several labels as a zero or a one for each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from thex_hf.conversion.data.table import RowErrorFactory

MOST_FLOAT = 3.4e38
"""The largest number that weights and losses have room for."""


def numbers(raw: Sequence[Any], error_for: RowErrorFactory) -> list[float]:
    """Labels as numbers, for regression.

    Raises:
        DataError: one is no number, or not finite.
    """
    values = []
    for index, value in enumerate(raw):
        number = as_number(value)
        if number is None or not abs(number) < MOST_FLOAT:
            raise error_for(
                index,
                f"has the label {value!r}; expected a number to predict, such as 2.5: labels "
                f"should be numbers for a regression model",
            )
        values.append(number)
    return values


def as_number(value: Any) -> float | None:
    """A value as a number, perhaps not finite; None if it is none."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        value = item()
    if isinstance(value, bool) or not isinstance(value, str | Real):
        return None
    try:
        return None if isinstance(value, str) and "_" in value else float(value)
    except (ValueError, OverflowError):
        return None


def not_finite(label: str) -> bool:
    """Whether a label is ``nan`` or infinite."""
    number = as_number(label)
    return number is not None and not math.isfinite(number)


def is_regression(column: str, raw: Sequence[Any], error_for: RowErrorFactory) -> bool:
    """Whether labels of which nothing is known are numbers to predict.

    They are in a column named ``score``; or if all are numbers, of JSON or of a data set, and one
    of them has a fraction.

    Raises:
        DataError: numbers with a fraction, as text: they may be names of classes.
    """
    if column == "score":
        return True
    values = [as_number(value) for value in raw]
    broken = [
        index
        for index, value in enumerate(values)
        if value is not None and math.isfinite(value) and not value.is_integer()
    ]
    if not broken or None in values:
        return False
    if any(isinstance(raw[index], str) for index in broken):
        raise error_for(
            broken[0],
            f"has the label {raw[broken[0]]!r}, which may be a number to predict or the name of a "
            f"class: call the column score for a regression, or give classes names that are no "
            f"numbers",
        )
    return True


def is_multi_hot(
    lists: Sequence[Sequence[Any]], count: int | None, error_for: RowErrorFactory
) -> bool:
    """Whether lists of labels are zeros and ones for each class, not classes.

    They are if every row has as many zeros and ones as there are classes, and if they cannot be
    classes: written as ``true`` or ``1.0``, or with a number that is there twice.

    Args:
        lists: labels of each text.
        count: how many classes there are, if known.
        error_for: makes the error for a row.

    Raises:
        DataError: they may be either.
    """
    size = len(lists[0])
    if size < 1 or not all(len(row) == size and all(map(_is_bit, row)) for row in lists):
        return False
    if count is not None and size != count:
        if size > 1 and any(isinstance(value, float) for row in lists for value in row):
            raise error_for(0, f"has {size} zeros or ones, and there are {count} classes")
        return False
    if size == 1 and count is None:
        return False  # one class each
    if any(isinstance(value, bool | float) for row in lists for value in row):
        return True
    if any(len({_bit(value) for value in row}) < size for row in lists):
        return True
    raise error_for(
        0,
        f"has the labels {list(lists[0])!r}, as in all rows either positions of classes or a zero "
        f"or one for each; write names of classes, or true and false",
    )


def ids_of_multi_hot(lists: Sequence[Sequence[Any]]) -> list[tuple[int, ...]]:
    """The classes that have a one, of each text."""
    return [tuple(i for i, value in enumerate(row) if _bit(value)) for row in lists]


def _is_bit(value: Any) -> bool:
    return isinstance(value, bool) or as_number(value) in (0.0, 1.0)


def _bit(value: Any) -> bool:
    return value if isinstance(value, bool) else as_number(value) == 1.0
