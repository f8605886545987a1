"""Labels that are numbers to predict: which are, and that they are finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from thex_hf.conversion.table import Refuse

MOST_FLOAT = 3.4e38
"""The largest number that weights and losses have room for."""


def numbers(raw: Sequence[Any], refuse: Refuse) -> list[float]:
    """Labels as numbers, for regression.

    Raises:
        DataError: one is no number, or not finite.
    """
    found = []
    for index, value in enumerate(raw):
        number = as_number(value)
        if number is None or not abs(number) < MOST_FLOAT:
            raise refuse(
                index,
                f"has the label {value!r}; expected a number to predict, such as 2.5: labels "
                f"should be numbers for a regression model",
            )
        found.append(number)
    return found


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


def is_regression(column: str, raw: Sequence[Any], refuse: Refuse) -> bool:
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
        raise refuse(
            broken[0],
            f"has the label {raw[broken[0]]!r}, which may be a number to predict or the name of a "
            f"class: call the column score for a regression, or give classes names that are no "
            f"numbers",
        )
    return True
