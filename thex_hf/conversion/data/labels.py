"""Match the labels of a data set to classes: one, several, a number, or a tag for each word.

A column is read in one way only: all of its labels are names of classes, or all are positions.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from thex_hf.conversion.data.regression import not_finite
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


def label_text(value: Any) -> str | None:
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
