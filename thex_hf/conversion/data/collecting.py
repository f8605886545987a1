"""From a table to labelled texts: every row is looked at before any is used."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from thex_hf.conversion.data import labels as parse
from thex_hf.conversion.data.columns import NAME_COLUMN, SEVERAL_COLUMN, WAYS, Columns, choose
from thex_hf.conversion.data.naming import declared_ids, generic_order, says_nothing, spelled
from thex_hf.conversion.data.regression import ids_of_hot, is_hot, is_regression, numbers
from thex_hf.conversion.data.table import WORD, Table, sift, unusable
from thex_hf.conversion.data.texts import LabelledTexts
from thex_hf.errors import ConversionError

Names = Sequence[str] | None


def collect(
    table: Table,
    names: Names,
    regression: bool | None,
    *,
    one_class: bool = False,
    labelled: bool = True,
    on_error: str = "raise",
) -> LabelledTexts:
    """Labelled texts of a table.

    Args:
        table: the table.
        names: of the classes in order, or None.
        regression: labels are numbers; None: the labels decide.
        one_class: allow all labels to be the same.
        labelled: False: every label is 0.
        on_error: what to do about texts that cannot be used.

    Raises:
        ConversionError: columns or rows are missing, or all labels are the same.
        DataError: a row cannot be used.
    """
    if not table.rows:
        raise ConversionError(f"{table.source} has no rows; labelled texts are needed.")
    where = choose(table, labelled=labelled)
    words = [words_of(value) for value in table.column(where.text)] if where.words else None
    seconds = table.column(where.second) if where.second else [""] * len(table.rows)
    reasons = [
        own if isinstance(own, str) else None
        for own in (words if words is not None else map(unusable, table.column(where.text)))
    ]
    if where.second:
        pairs = zip(reasons, seconds, strict=True)
        reasons = [own or unusable(text, "second text") for own, text in pairs]
    kept, skipped = sift(reasons, table.source, table.places, on_error)
    left = table.pick(kept)
    own_words = None if words is None else tuple(tuple(words[i]) for i in kept)
    labels, classes, kind, declared = _labels(left, where, names, regression, own_words)
    found = LabelledTexts(
        texts=tuple(left.column(where.text))
        if own_words is None
        else tuple(" ".join(own) for own in own_words),
        pairs=tuple(seconds[i] for i in kept) if where.second else None,
        labels=tuple(labels),
        label_names=classes,
        kind=kind,
        words=own_words,
        places=tuple(left.places),
        skipped=skipped,
        declared=declared,
    )
    if labelled and not one_class:
        _refuse_one_class(found, table.source)
    return found


def words_of(value: Any) -> list[str] | str:
    """The words of a text that has a tag for each, or why there are none."""
    if isinstance(value, str):
        return value.split() or "has an empty text (0 words)"
    plain = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(plain, list | tuple):
        return f"should have a list of words, got {value!r}"
    if not plain:
        return "has an empty text (0 words)"
    odd = next((reason for word in plain if (reason := unusable(word, WORD))), None)
    return odd or list(plain)


Found = tuple[Sequence[Any], tuple[str, ...] | None, str, tuple[str, ...] | None]


def _labels(
    table: Table,
    where: Columns,
    names: Names,
    regression: bool | None,
    words: Sequence[Sequence[str]] | None,
) -> Found:
    """Labels, names of the classes, the kind, and the names that a data set declares."""
    column, count = where.label, len(table.rows)
    if column is None:
        labels = [0] * count if words is None else [(0,) * len(own) for own in words]
        return labels, ("LABEL_0",), "classes" if words is None else "tags", None
    own = table.declared.get(column) or _spelled(table, column, regression)
    declared = own if own and names and says_nothing(names) and not generic_order(own) else None
    raw = table.column(column)
    if words is not None:
        tags = [_entries(table, i, column, None) for i in range(count)]
        for index, (some, text) in enumerate(zip(tags, words, strict=True)):
            if len(some) != len(text):
                raise table.wrong(
                    index,
                    f"should have one tag for each word; got {len(text)} words and "
                    f"{len(some)} tags",
                )
        ids, classes = _grouped(table, column, tags, names)
        return ids, classes, "tags", declared
    if column == SEVERAL_COLUMN:
        lists = [_entries(table, i, column, parse.SEPARATOR) for i in range(count)]
        ids, classes = _several(table, lists, names)
        return ids, classes, "multi", declared
    if regression and {"label", "score"} <= set(table.columns):
        raise ConversionError(
            f"{table.source} has columns label and score, and each could hold the numbers to "
            f"predict: leave one of them out."
        )
    if regression is None:
        regression = not names and not own and is_regression(column, raw, table.wrong)
    if regression:
        if own:
            raise ConversionError(
                f"{table.source}: labels should be numbers for a regression model; the data set "
                f"has the classes {', '.join(own[:10])}."
            )
        return numbers(raw, table.wrong), None, "numbers", None
    if own:
        classes = tuple(names or own)
        if column not in table.declared:
            raw = [parse.position(text) for text in parse.all_written(raw, column, table.wrong)]
        return declared_ids(raw, own, classes, table.source, table.wrong), classes, "", declared
    texts = parse.all_written(raw, column, table.wrong)
    classes = tuple(names or parse.class_names(texts, table.wrong))
    return parse.class_ids(texts, classes, table.wrong, WAYS.get(column)), classes, "", None


def _spelled(table: Table, column: str, regression: bool | None) -> tuple[str, ...] | None:
    """Names of the classes from a column that has them beside the class numbers."""
    if column != "label" or NAME_COLUMN not in table.columns or regression:
        return None
    labels = parse.all_written(table.column(column), column, table.wrong)
    return spelled(labels, table.column(NAME_COLUMN), table.wrong)


def _several(
    table: Table, lists: list[list[Any]], names: Names
) -> tuple[list[tuple[int, ...]], tuple[str, ...]]:
    """Classes of each text, from lists of them or from a zero or one for each class."""
    own = table.declared.get(SEVERAL_COLUMN)
    count = len(names) if names else None
    if not own and is_hot(lists, count, table.wrong):
        found = ids_of_hot(lists)
        return found, tuple(names or (f"LABEL_{i}" for i in range(len(lists[0]))))
    ids, classes = _grouped(table, SEVERAL_COLUMN, lists, names)
    for index, some in enumerate(ids):
        if len(set(some)) < len(some):
            raise table.wrong(
                index,
                f"names a class twice: {lists[index]!r}; labels should be a list of classes, or "
                f"in every row a zero or a one for each of {len(classes)} classes",
            )
    return ids, classes


def _grouped(
    table: Table, column: str, lists: list[list[Any]], names: Names
) -> tuple[list[tuple[int, ...]], tuple[str, ...]]:
    """The classes of lists of labels, all of which are read in one way."""
    rows = [row for row, some in enumerate(lists) for _ in some]
    flat = list(chain.from_iterable(lists))

    def refuse(index: int, reason: str) -> Exception:
        return table.wrong(rows[index], reason)

    own = table.declared.get(column)
    if own:
        classes = tuple(names or own)
        ids = declared_ids(flat, own, classes, table.source, refuse)
    else:
        texts = parse.all_written(flat, column, refuse)
        tags = column != SEVERAL_COLUMN and not all(map(str.isdigit, texts))
        classes = tuple(names or (sorted(set(texts)) if tags else parse.class_names(texts, refuse)))
        ids = parse.class_ids(texts, classes, refuse)
    left = iter(ids)
    return [tuple(next(left) for _ in some) for some in lists], classes


def _entries(table: Table, index: int, column: str, separator: str | None) -> list[Any]:
    """The labels of one row."""
    value = table.rows[index].get(column)
    if value is None:
        raise table.wrong(index, f"has no {column}; text and {column} should all be there")
    try:
        return parse.entries(value, separator)
    except TypeError as error:
        raise table.wrong(
            index,
            f"has something else than a list in column {column}: {error}; one label of a text "
            f"stands in a column named label",
        ) from error


def _refuse_one_class(found: LabelledTexts, source: str) -> None:
    names = found.label_names
    if names is None:
        parse.refuse_one_class(found.labels, source)
    elif found.kind == "classes":
        parse.refuse_one_class([names[i] for i in found.labels], source)
    else:
        parse.refuse_one_class([names[i] for entry in found.labels for i in entry] or [""], source)
