"""True labels of a data set, in the terms of the model, and the texts that can be scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thex_hf.conversion.data.collecting import words_of
from thex_hf.conversion.data.labels import class_ids, label_text, label_texts, numbers
from thex_hf.conversion.data.naming import declared_ids
from thex_hf.conversion.data.reading import declared_names
from thex_hf.conversion.data.table import Place, Skipped, row_error, select_usable, why_unusable
from thex_hf.errors import InputError


def usable_rows(
    table: Any, columns: Sequence[str], on_error: str, *, words: bool = False
) -> tuple[list[int], tuple[Skipped, ...]]:
    """Which rows of a data set have texts that can be scored, and what is left out.

    Args:
        table: the data set.
        columns: of texts; of lists of words, if ``words``.
        on_error: ``raise`` or ``skip``.
        words: the column holds lists of words.

    Raises:
        DataError: with ``raise``, a text is missing or empty; with ``skip``, all are.
        InputError: there are no rows, or none holds a list of words.
    """
    if not len(table):
        raise InputError("there are no texts to score; the data are empty")
    reasons: list[str | None] = [None] * len(table)
    for column in columns:
        values = list(table[column])
        if words and not any(isinstance(value, list) for value in values):
            raise InputError(f"column {column!r} should hold lists, one entry for each word")
        for row, value in enumerate(values):
            reasons[row] = reasons[row] or (
                _of_words(value) if words else why_unusable(value, column)
            )
    return select_usable(reasons, "", [Place(i) for i in range(1, len(table) + 1)], on_error)


def _of_words(value: Any) -> str | None:
    if isinstance(value, str):
        return f"should have a list of words, got {value!r}"
    found = words_of(value)
    return found if isinstance(found, str) else None


def references_of(
    table: Any,
    column: str,
    kind: str,
    names: Sequence[str],
    mapping: Mapping[str, float] | None,
    rows: Sequence[int],
) -> list[Any]:
    """True labels as the metric compares them.

    Args:
        table: the data set.
        column: of labels.
        kind: ``classes`` or ``numbers``.
        names: the model's class names in order.
        mapping: given by the user: then labels stay as they are.
        rows: those that are wanted.

    Returns:
        Numbers; or class ids of the model. Class names are matched to the model's, whatever
        their case; ids of a data set that names its classes are matched by those names.

    Raises:
        DataError: a label is missing or fits no class, or the names of the classes differ.
        InputError: a class has no value in ``mapping``.
    """
    raw = _picked(table, column, rows)
    error_for = _refusing(rows)
    own = declared_names(table.features[column])
    if kind == "numbers":
        if own:
            raise InputError(
                f"column {column!r} should hold numbers to predict, and the data set has the "
                f"classes {', '.join(own[:10])}"
            )
        return numbers(raw, error_for)
    if mapping is not None:
        missing = sorted(set(names) - set(mapping))
        if missing:
            raise InputError(
                f"label_mapping should have a value for {', '.join(names)}; {', '.join(missing)} "
                f"missing"
            )
        gone = next((i for i, label in enumerate(raw) if label_text(label) is None), None)
        if gone is not None:
            raise error_for(gone, f"has no {column}, got {raw[gone]!r}; labels should all be there")
        return raw
    if own:
        return declared_ids(raw, own, names, f"column {column!r}", error_for)
    return class_ids(label_texts(raw, column, error_for), names, error_for)


def tags_in(
    table: Any,
    column: str,
    words: Sequence[Sequence[str]],
    names: Sequence[str],
    rows: Sequence[int],
) -> list[list[str]]:
    """The tags of a data set by the model's names.

    Args:
        table: the data set.
        column: of lists of tags. Ids are named by the data set, or else by the model.
        words: of each text that is wanted.
        names: the model's tags in order.
        rows: those that are wanted.

    Raises:
        InputError: the column holds no lists.
        DataError: not one tag a word, a tag that fits none of the model's, or other names.
    """
    lists = _picked(table, column, rows)
    if not all(isinstance(own, list) for own in lists):
        raise InputError(f"column {column!r} should hold lists, one entry for each word")
    error_for = _refusing(rows)
    for index, (own, tags) in enumerate(zip(words, lists, strict=True)):
        if len(own) != len(tags):
            raise error_for(
                index,
                f"should have tags: expected one tag for each of {len(own)} words, got {len(tags)}",
            )
    flat = [tag for tags in lists for tag in tags]
    of_row = [rows[i] for i, tags in enumerate(lists) for _ in tags]
    declared = declared_names(table.features[column])
    if declared:
        ids = declared_ids(flat, declared, names, f"column {column!r}", _refusing(of_row))
    else:
        ids = class_ids(label_texts(flat, column, _refusing(of_row)), names, _refusing(of_row))
    left = iter(ids)
    return [[names[next(left)] for _ in tags] for tags in lists]


def _picked(table: Any, column: str, rows: Sequence[int]) -> list[Any]:
    values = list(table[column])
    return [values[row] for row in rows]


def _refusing(rows: Sequence[int]) -> Callable[[int, str], Exception]:
    """Makes errors for rows, of which ``rows`` are those that are wanted."""

    def error_for(index: int, reason: str) -> Exception:
        return row_error("", Place(rows[index] + 1), reason)

    return error_for
