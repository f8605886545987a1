"""Match the labels of a data set to classes, to numbers, or to a tag for each word.

A column is read in one way only: all of its labels are names of classes, or all are positions.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from thex_hf.conversion.data.table import RowErrorFactory
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
MOST_GAPS = 1000
"""How many class numbers may be missing where nothing but the numbers says what classes are."""

MOST_FLOAT = 3.4e38
"""The largest number that weights and losses have room for."""


def label_text(value: Any) -> str | None:
    """A label as text: whole numbers without a decimal point; None if it is missing.

    Raises:
        TypeError: it is no text and no number, for example a list.
    """
    value = _unboxed(value)
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


def _unboxed(value: Any) -> Any:
    """The number in a scalar of numpy or torch; anything else as it is."""
    scalar = callable(getattr(value, "item", None)) and getattr(value, "ndim", None) == 0
    return value.item() if scalar else value


def label_texts(raw: Sequence[Any], column: str, error_for: RowErrorFactory) -> list[str]:
    """Labels as text, one each.

    Args:
        raw: as they stand in the data.
        column: their name.
        error_for: makes the error for a row.

    Raises:
        DataError: one is missing, is not a number, or is a list; or ``true`` and ``false`` stand
            beside labels of another kind.
    """
    texts = []
    given = [index for index, value in enumerate(raw) if value is not None]
    odd = [
        index for index in given if isinstance(raw[index], bool) != isinstance(raw[given[0]], bool)
    ]
    if odd:
        raise error_for(
            odd[0],
            f"has the label {raw[odd[0]]!r} in column {column}, and an earlier one is "
            f"{raw[given[0]]!r}; labels should all be true or false, or none of them",
        )
    for index, value in enumerate(raw):
        try:
            text = label_text(value)
        except TypeError:
            raise error_for(
                index,
                f"should have one label in column {column}, got {value!r}; several labels of a "
                f"text stand in a column named labels",
            ) from None
        if text is None:
            raise error_for(index, f"has no {column}, got {value!r}; labels should all be there")
        texts.append(text)
    return texts


def position(label: str) -> int | None:
    """The number that a label is, as 3 or 3.0; None if it is none."""
    match = POSITION.fullmatch(label)
    return int(match[1]) if match else None


def class_names(labels: Sequence[str], error_for: RowErrorFactory) -> tuple[str, ...]:
    """Names of the classes in order, where nothing but the labels says what they are.

    Args:
        labels: as text.
        error_for: makes the error for the row of a label, from its index.

    Returns:
        ``LABEL_0`` and so on, if all are numbers; else the labels in alphabetical order.

    Raises:
        DataError: class numbers with large gaps, or ``nan`` or ``inf`` among them.
    """
    places = {label: position(label) for label in labels}
    numbers = [place for place in places.values() if place is not None]
    for label in places:
        if not_finite(label) and (numbers or label.casefold().endswith("nan")):
            raise error_for(
                labels.index(label),
                f"has the label {label!r}; labels should be names or whole numbers",
            )
    if not places or len(numbers) < len(places):
        return tuple(sorted(places))
    if max(numbers) >= len(numbers) + MOST_GAPS:
        index = next(i for i, label in enumerate(labels) if places[label] == max(numbers))
        raise error_for(
            index,
            f"has the label {labels[index]}, and there are only {len(numbers)} classes; class "
            f"numbers should count from 0",
        )
    return tuple(f"LABEL_{i}" for i in range(max(numbers) + 1))


def class_ids(
    labels: Sequence[str], names: Sequence[str], error_for: RowErrorFactory, way: str | None = None
) -> list[int]:
    """The class of each label: all are names, or all are positions.

    Args:
        labels: as text. Names may differ from the classes' in case, or in ``.0`` at the end of a
            number, where that leaves no doubt.
        names: of the classes in order.
        error_for: makes the error for the row of a label, from its index.
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
        raise error_for(index, f"has the label {labels[index]!r}; {_expected(names)}")
    if whole[0] != whole[-1]:
        index = next(i for i, label in enumerate(labels) if whole[0][label] != whole[1][label])
        label = labels[index]
        raise error_for(
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


def refuse_one_class(labels: Sequence[object], source: str) -> None:
    """Raise if every label is the same.

    Raises:
        ConversionError: nothing can be learned or compared.
    """
    if len(set(labels)) < 2:
        raise ConversionError(
            f"{source}: every row has label {labels[0]!r}; at least two classes are needed."
        )


def label_list(value: Any, separator: str | None = None) -> list[Any]:
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
    positions = ((label, position(label)) for label in labels)
    return {label: place for label, place in positions if place is not None and place < count}


def _once(names: Sequence[str]) -> Mapping[str, int]:
    """The place of each name that is there once."""
    counts = Counter(names)
    return {name: i for i, name in enumerate(names) if counts[name] == 1}


def _plain(label: str) -> str:
    number = position(label)
    return label.casefold() if number is None else str(number)


def _expected(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return (
        f"labels should be among {shown} or 0 to {len(names) - 1} (all of them names, or all of "
        f"them positions). Use data of the model's task, or a model that was fine-tuned with this "
        f"number of labels"
    )


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
    value = _unboxed(value)
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
