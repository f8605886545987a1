"""Match the labels of a data set to classes: one, several, a number, or a tag for each word.

A column is read in one way only: all of its labels are names of classes, or all are positions.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from thex_hf.errors import ConversionError

KINDS = ("classes", "numbers", "multi", "tags")
"""One class a text, a number a text, any number of classes a text, a class for each word."""

PROBLEMS = {
    "classes": "single_label_classification",
    "numbers": "regression",
    "multi": "multi_label_classification",
}
"""What transformers calls the task of each kind; it has no name for tags."""

SEPARATOR = "|"
"""Between several labels of one text, in files that have no lists."""

POSITION = re.compile(r"(0|[1-9][0-9]*)(\.0+)?")
MOST_FLOAT = 3.4e38
MOST_GAPS = 1000
"""How many class numbers may be missing where nothing but the numbers says what classes are."""

Refuse = Callable[[int, str], Exception]
"""Makes the error for a row, from its index and what is wrong with it."""


def written(value: Any) -> str | None:
    """A label as text: whole numbers without a decimal point; None if it is missing.

    Raises:
        TypeError: it is no text and no number, for example a list.
    """
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:  # of numpy or torch
        value = item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, Integral):
        return str(value)
    if isinstance(value, Real):
        number = float(value)
        return str(int(number)) if math.isfinite(number) and number.is_integer() else str(number)
    raise TypeError(f"expected a name or a number, got {value!r}")


def all_written(raw: Sequence[Any], column: str, refuse: Refuse) -> list[str]:
    """Labels as text, one each.

    Args:
        raw: as they stand in the data.
        column: their name.
        refuse: makes the error for a row.

    Raises:
        DataError: one is missing, is not a number, or is a list.
    """
    found = []
    for index, value in enumerate(raw):
        try:
            text = written(value)
        except TypeError:
            raise refuse(
                index,
                f"should have one label in column {column}, got {value!r}; several labels of a "
                f"text stand in a column named labels",
            ) from None
        if text is None:
            raise refuse(index, f"has no {column}, got {value!r}; labels should all be there")
        found.append(text)
    return found


def position(label: str) -> int | None:
    """The number that a label is, as 3 or 3.0; None if it is none."""
    found = POSITION.fullmatch(label)
    return int(found[1]) if found else None


def class_names(found: Iterable[str], names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the classes in order: those given, else as many as the labels show.

    Args:
        found: labels as text.
        names: what to match them to, if known.

    Raises:
        ConversionError: class numbers with large gaps, or ``nan`` or ``inf`` among them.
    """
    if names is not None:
        return tuple(names)
    values = set(found)
    places = [position(value) for value in values]
    numbers = [place for place in places if place is not None]
    odd = sorted(v for v in values if not_finite(v) and (numbers or "nan" in v.lower()))
    if odd:
        raise ConversionError(f"labels should be names or whole numbers, got also {odd[0]!r}")
    if not values or len(numbers) < len(values):
        return tuple(sorted(values))
    if max(numbers) >= len(numbers) + MOST_GAPS:
        raise ConversionError(
            f"class numbers should count from 0, and the largest of {len(numbers)} is "
            f"{max(numbers)}"
        )
    return tuple(f"LABEL_{i}" for i in range(max(numbers) + 1))


def class_ids(
    labels: Sequence[str], names: Sequence[str], refuse: Refuse, way: str | None = None
) -> list[int]:
    """The class of each label: all are names, or all are positions.

    Args:
        labels: as text. Names may differ from the classes' in case, or in ``.0`` at the end of a
            number, where that leaves no doubt.
        names: of the classes in order.
        refuse: makes the error for the row of a label, from its index.
        way: ``name`` or ``position``, where that is known.

    Raises:
        DataError: a label fits no class; or all could be read in both ways, and mean other
            classes.
    """
    distinct = list(dict.fromkeys(labels))
    ways = {"name": by_name(distinct, names), "position": _by_position(distinct, len(names))}
    ways = {name: table for name, table in ways.items() if way in (None, name)}
    whole = [table for table in ways.values() if len(table) == len(distinct)]
    if not whole:
        best = max(ways.values(), key=len)
        index = next(i for i, label in enumerate(labels) if label not in best)
        raise refuse(index, f"has the label {labels[index]!r}; {_expected(names)}")
    if whole[0] != whole[-1]:
        index = next(i for i, label in enumerate(labels) if whole[0][label] != whole[1][label])
        label = labels[index]
        raise refuse(
            index,
            f"has the label {label!r}, which is the name of class {whole[0][label]} and the "
            f"position of {names[whole[1][label]]!r}, and no other row tells which is meant; call "
            f"the column label_name or label_id",
        )
    return [whole[0][label] for label in labels]


def by_name(labels: Iterable[str], names: Sequence[str]) -> dict[str, int]:
    """The class of each label that is the name of just one."""
    distinct = list(labels)
    exact = _once(names)
    fits = {label: exact[label] for label in distinct if label in exact}
    if len(fits) == len(distinct):
        return fits
    loose = _once([_plain(name) for name in names])
    return fits | {
        label: loose[_plain(label)]
        for label in distinct
        if label not in fits and _plain(label) in loose
    }


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


def is_regression(column: str, raw: Sequence[Any]) -> bool:
    """Whether labels of which nothing is known are numbers to predict.

    They are in a column named ``score``; or if all are numbers, of JSON or of a data set, and one
    of them has a fraction.

    Raises:
        ConversionError: numbers with a fraction, as text: they may be names of classes.
    """
    if column == "score":
        return True
    values = [as_number(value) for value in raw]
    broken = [
        own
        for own, value in zip(raw, values, strict=True)
        if value is not None and math.isfinite(value) and not value.is_integer()
    ]
    if not broken or None in values:
        return False
    if any(isinstance(value, str) for value in broken):
        raise ConversionError(
            f"labels such as {broken[0]!r} may be numbers to predict or names of classes: call "
            f"the column score for a regression, or give classes names that are no numbers"
        )
    return True


def refuse_one_class(labels: Sequence[object], source: str) -> None:
    """Raise if every label is the same.

    Raises:
        ConversionError: nothing can be learned or compared.
    """
    if len(set(labels)) < 2:
        raise ConversionError(
            f"{source}: every row has label {labels[0]!r}; at least two classes are needed."
        )


def entries(value: Any, separator: str | None = None) -> list[Any]:
    """Several labels, or tags, of one text: a list, or text parted by a separator or blanks.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, str):
        plain = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(plain, list | tuple):
            raise TypeError(f"expected a list, got {value!r}")
        return list(plain)
    if value.strip().startswith("[") and value.strip().endswith("]"):
        raise TypeError(f"expected labels with {separator or 'blanks'} between, got {value!r}")
    return [part.strip() for part in value.split(separator) if part.strip()]


def _by_position(labels: Iterable[str], count: int) -> dict[str, int]:
    found = ((label, position(label)) for label in labels)
    return {label: place for label, place in found if place is not None and place < count}


def _once(names: Sequence[str]) -> Mapping[str, int]:
    """The place of each name that is there once."""
    counts = Counter(names)
    return {name: i for i, name in enumerate(names) if counts[name] == 1}


def _plain(label: str) -> str:
    found = position(label)
    return label.casefold() if found is None else str(found)


def _expected(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return (
        f"labels should be among {shown} or 0 to {len(names) - 1} (all of them names, or all of "
        f"them positions). Use data of the model's task, or a model that was fine-tuned with this "
        f"number of labels"
    )
