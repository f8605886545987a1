"""Match the labels of a data set to classes: one, several, a number, or a tag for each word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def class_names(found: Iterable[str], names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the classes in order: those given, else as many as the labels show.

    Args:
        found: labels as they stand in the data.
        names: what to match them to, if known.
    """
    if names is not None:
        return tuple(names)
    values = set(found)
    if values and all(value.isdigit() for value in values):
        return tuple(f"LABEL_{i}" for i in range(max(map(int, values)) + 1))
    return tuple(sorted(values))


def numbers(raw: Sequence[str], source: str) -> list[float]:
    """Labels as numbers, for regression.

    Raises:
        ConversionError: one is no number.
    """
    try:
        return [float(value) for value in raw]
    except ValueError as error:
        raise ConversionError(
            f"{source!r}: labels should be numbers for a regression model: {error}."
        ) from error


def class_ids(raw: Sequence[str], names: Sequence[str], source: str) -> list[int]:
    """The class of each label; a label that is a number stands for the class of that position.

    Raises:
        ConversionError: a label fits no class.
    """
    ids = {str(i): i for i in range(len(names))} | {name: i for i, name in enumerate(names)}
    unknown = sorted(set(raw) - set(ids))
    if unknown:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise ConversionError(
            f"{source!r}: labels should be among {shown} (or 0 to {len(names) - 1}); got also "
            f"{', '.join(unknown[:5])}. Use a model that was fine-tuned with this number of labels."
        )
    return [ids[value] for value in raw]


def refuse_one_class(labels: Sequence[object], source: str) -> None:
    """Raise if every label is the same.

    Raises:
        ConversionError: nothing can be learned or compared.
    """
    if len(set(labels)) < 2:
        raise ConversionError(
            f"{source!r}: every row has label {labels[0]!r}; at least two classes are needed."
        )


def entries(value: Any, separator: str | None = None) -> list[str]:
    """Several labels, or tags, of one text: a list, or text parted by a separator or blanks."""
    parts = value.split(separator) if isinstance(value, str) else list(value)
    return [str(part).strip() for part in parts if str(part).strip()]
