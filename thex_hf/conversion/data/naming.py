"""Bring classes that the data name themselves into the order of a model's."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from transformers.utils import logging

from thex_hf.conversion.data.labels import MOST_FLOAT, MOST_GAPS, as_number, by_name, position
from thex_hf.conversion.data.table import (
    LabelledTexts,
    RowErrorFactory,
    row_error,
    select_usable,
    why_unusable,
)
from thex_hf.errors import DataError

logger = logging.get_logger(__name__)
GENERIC = re.compile(r"(?:label_)?(0|[1-9][0-9]*)", re.IGNORECASE)


def generic_order(names: Sequence[str]) -> list[int] | None:
    """The positions that names such as ``LABEL_1`` or ``1`` are; None if they say more."""
    matches = [GENERIC.fullmatch(name) for name in names]
    order = [int(match[1]) for match in matches if match]
    return order if sorted(order) == list(range(len(names))) else None


def are_generic(names: Sequence[str]) -> bool:
    """Whether a model's names are just the positions: ``LABEL_0``, ``LABEL_1`` and so on."""
    return generic_order(names) == list(range(len(names)))


def model_positions(
    data_names: Sequence[str], names: Sequence[str], used: Collection[int], source: str
) -> dict[int, int]:
    """Where the model has the classes of the data.

    Args:
        data_names: names that the data give their classes, in their order.
        names: of the model's, in its order.
        used: those of ``data_names`` that some row has.
        source: what to call the data in a message.

    Returns:
        For each position that is used the model's: by name, whatever the case. Names such as
        ``LABEL_1`` or ``1`` stand for a position. A model whose names say nothing takes as many
        classes in the order of the data, and a warning says so.

    Raises:
        DataError: the names differ.
    """
    order = generic_order(data_names)
    all_ids = by_name(set(data_names), names)
    ids = by_name({data_names[i] for i in used}, names)
    by_names = order is None or all(
        name in all_ids for name in data_names
    )  # not by what a split has
    if by_names and all(data_names[i] in ids for i in used):
        return {i: ids[data_names[i]] for i in used}
    if order is not None and all(order[i] < len(names) for i in used):
        logger.info("%s: classes %s are taken for positions", source, ", ".join(data_names[:10]))
        return {i: order[i] for i in used}
    if are_generic(names) and len(data_names) == len(names):
        logger.warning(
            "%s: the model's classes have no names (%s): they are taken to be %s, in this order. "
            "Set id2label in its config.json to be sure.",
            source or "the data",
            ", ".join(names[:10]),
            ", ".join(data_names[:10]),
        )
        return {i: i for i in used}
    start = f"{source}: " if source else ""
    raise DataError(
        f"{start}the model has the labels {', '.join(names[:10])}, the data have "
        f"{', '.join(data_names[:10])}; take data of the model's task, or give their classes the "
        f"model's names."
    )


def names_beside(
    labels: Sequence[str], names: Sequence[Any], error_for: RowErrorFactory
) -> tuple[str, ...] | None:
    """Names of classes in order, from a second column that has the name of each row's class.

    Args:
        labels: of the rows, as text.
        names: of the same rows' classes.
        error_for: makes the error for a row.

    Returns:
        A name for each position, ``LABEL_3`` for one that no row has; None if labels are no
        positions.

    Raises:
        DataError: one class has two names, or none.
    """
    places = [position(label) for label in labels]
    name_of: dict[int, str] = {}
    for index, (place, name) in enumerate(zip(places, names, strict=True)):
        if place is None or place > len(places) + MOST_GAPS:
            return None
        text = name.strip() if isinstance(name, str) else ""
        if not text or name_of.setdefault(place, text) != text:
            raise error_for(
                index,
                f"has the label {place} and the label_text {name!r}; each label should have one "
                f"name in all rows",
            )
    return tuple(name_of.get(i, f"LABEL_{i}") for i in range(max(name_of, default=0) + 1))


def declared_ids(
    raw: Sequence[Any],
    data_names: Sequence[str],
    names: Sequence[str],
    source: str,
    error_for: RowErrorFactory,
) -> list[int]:
    """The model's class of each label of a column whose classes a data set names.

    Args:
        raw: positions among ``data_names``.
        data_names: the data set's names in order.
        names: the model's.
        source: what to call the data in a message.
        error_for: makes the error for the row of a label, from its index.

    Raises:
        DataError: a label is missing or no position, or the names differ.
    """
    for index, value in enumerate(raw):
        if not isinstance(value, int) or value not in range(len(data_names)):
            raise error_for(
                index,
                f"has the label {value!r}, and labels should be 0 to {len(data_names) - 1} "
                f"({', '.join(data_names[:10])}); choose a split that has labels",
            )
    table = model_positions(data_names, names, set(raw), source)
    return [table[value] for value in raw]


def align_labels(texts: LabelledTexts, names: Sequence[str]) -> LabelledTexts:
    """Texts with their class ids in the order of a model's names.

    Args:
        texts: read before, or made by hand.
        names: of the model's classes.

    Raises:
        DataError: the names differ, or a label is none of the classes.
    """
    data_names = texts.label_names
    if data_names is None:
        return _finite(texts)
    lists = [(label,) if texts.kind == "classes" else tuple(label) for label in texts.labels]
    for place, some in zip(texts.places, lists, strict=True):
        for label in some:
            if label not in range(len(data_names)):
                raise row_error(
                    "",
                    place,
                    f"has the label {label!r}; labels should be 0 to {len(data_names) - 1} "
                    f"({', '.join(data_names[:10])})",
                )
    if tuple(data_names) == tuple(names):
        return texts
    table = model_positions(data_names, names, {label for some in lists for label in some}, "")
    labels = tuple(
        table[some[0]] if texts.kind == "classes" else tuple(table[label] for label in some)
        for some in lists
    )
    declared = (
        data_names if are_generic(names) and generic_order(data_names) is None else texts.declared
    )
    return replace(texts, labels=labels, label_names=tuple(names), declared=declared)


def _finite(texts: LabelledTexts) -> LabelledTexts:
    for place, label in zip(texts.places, texts.labels, strict=True):
        number = as_number(label)
        if number is None or not abs(number) < MOST_FLOAT:
            raise row_error("", place, f"has the label {label!r}; labels should be finite numbers")
    return texts


def select_texts(texts: LabelledTexts, on_error: str = "raise") -> LabelledTexts:
    """Texts read before, or made by hand: those that can be used.

    Args:
        texts: at least one.
        on_error: ``skip`` leaves out texts that are missing or empty.

    Raises:
        DataError: with ``raise``, a text cannot be used; with ``skip``, none can.
    """
    seconds = texts.pairs or ("-",) * len(texts)
    reasons = [
        why_unusable(first) or why_unusable(second, "second text")
        for first, second in zip(texts.texts, seconds, strict=True)
    ]
    kept, skipped = select_usable(reasons, "", texts.places, on_error)
    return replace(texts.pick(kept), skipped=(*texts.skipped, *skipped)) if skipped else texts
