"""True labels of a data set, in the terms of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thex_hf.errors import InputError
from thex_hf.evaluation.libraries import datasets


def references_of(
    table: Any,
    column: str,
    kind: str,
    names: Sequence[str],
    mapping: Mapping[str, float] | None,
) -> list[Any]:
    """True labels as the metric compares them.

    Args:
        table: the data set.
        column: of labels.
        kind: ``classes`` or ``numbers``.
        names: the model's class names in order.
        mapping: given by the user: then labels stay as they are.

    Returns:
        Numbers; or class ids of the model. Class names are matched to the model's, whatever
        their case; ids of a data set that names its classes as the model does, but in another
        order, are put into the model's order.

    Raises:
        InputError: a label is missing, fits no class, or has no value in ``mapping``.
    """
    raw = list(table[column])
    if kind == "numbers":
        return [_number(value) for value in raw]
    if mapping is not None:
        missing = sorted(set(names) - set(mapping))
        if missing:
            raise InputError(
                f"label_mapping should have a value for {', '.join(names)}; {', '.join(missing)} "
                f"missing"
            )
        return raw
    ids = {name.casefold(): i for i, name in enumerate(names)}
    feature = table.features[column]
    own = (
        [name.casefold() for name in feature.names]
        if isinstance(feature, datasets.ClassLabel)
        else []
    )
    if set(own) == set(ids):
        found = [ids[own[value]] if value is not None and value >= 0 else None for value in raw]
    else:
        found = [_class(value, ids, len(names)) for value in raw]
    if None in found:
        odd = raw[found.index(None)]
        raise InputError(
            f"column {column!r}: expected labels among {', '.join(names)} or 0 to "
            f"{len(names) - 1}, got {odd!r}; choose a split that has labels, or pass label_mapping"
        )
    return found


def _class(value: Any, ids: Mapping[str, int], count: int) -> int | None:
    if isinstance(value, str):
        return ids.get(value.casefold())
    return int(value) if value is not None and value in range(count) else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a number to predict, got {value!r}") from error
