"""From a table to labelled texts: which columns hold them, and every row looked at before use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from thex_hf.conversion.data import labels as parse
from thex_hf.conversion.data.labels import (
    ids_of_multi_hot,
    is_multi_hot,
    is_regression,
    numbers,
)
from thex_hf.conversion.data.naming import are_generic, declared_ids, generic_order, names_beside
from thex_hf.conversion.data.table import WORD, LabelledTexts, Table, select_usable, why_unusable
from thex_hf.errors import ConversionError

TEXT_COLUMNS = ("text", "sentence")
PAIR_COLUMNS = (
    ("text", "text_pair"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("sentence1", "sentence2"),
    ("sentence_A", "sentence_B"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("premise", "hypothesis"),
)
LABEL_READINGS = {"label_name": "name", "label_id": "position"}
"""Columns that say how their labels are to be read; they come before one that does not."""

LABEL_COLUMNS = (*LABEL_READINGS, "label", "score")
NAME_COLUMN = "label_text"
"""Beside a column ``label`` of class numbers: the name of each row's class."""

SEVERAL_COLUMN = "labels"
TAG_COLUMNS = ("tags", "ner_tags")
LIST_COLUMNS = ("tokens", "words")
WORD_COLUMNS = (*LIST_COLUMNS, "text")
KNOWN_COLUMNS = tuple(
    dict.fromkeys(
        (
            *TEXT_COLUMNS,
            *(name for pair in PAIR_COLUMNS for name in pair),
            *LABEL_COLUMNS,
            NAME_COLUMN,
            SEVERAL_COLUMN,
            *TAG_COLUMNS,
            *WORD_COLUMNS,
        )
    )
)
"""Every column that is ever read."""

Names = Sequence[str] | None
Found = tuple[Sequence[Any], tuple[str, ...] | None, str, tuple[str, ...] | None]


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read.

    Args:
        text: of texts, or of words where ``words`` says so.
        second: of the second text of each pair.
        label: of labels; None if none are wanted.
        words: each word has a label of its own.
    """

    text: str
    second: str | None
    label: str | None
    words: bool = False


def choose_columns(table: Table, *, labelled: bool = True) -> Columns:
    """Find the columns, by what all rows together have.

    Args:
        table: the table.
        labelled: labels are wanted.

    Raises:
        ConversionError: there is no column of texts, or none of labels.
    """
    there = set(table.columns)
    words = next((c for c in LIST_COLUMNS if c in there), None)
    tags = next((c for c in TAG_COLUMNS if c in there), None)
    label = next((c for c in (*LABEL_COLUMNS, SEVERAL_COLUMN) if c in there), None)
    if tags is not None and (words is not None or label is None):
        return Columns(_words(table), None, tags if labelled else None, words=True)
    if not labelled and words is not None:
        return Columns(words, None, None, words=True)
    first, second = _texts(table)
    if not labelled:
        return Columns(first, second, None)
    if label is None:
        raise ConversionError(
            f"{table.source} should have a column named label; it has {_shown(table)}."
        )
    return Columns(first, second, label)


def _words(table: Table) -> str:
    column = next((c for c in WORD_COLUMNS if c in table.columns), None)
    if column is None:
        raise ConversionError(
            f"{table.source} has a column of tags and should also have one named tokens or text; "
            f"it has {_shown(table)}."
        )
    return column


def _texts(table: Table) -> tuple[str, str | None]:
    for first, second in PAIR_COLUMNS:
        if first in table.columns and second in table.columns:
            both = any(value is not None for value in table.column(second))
            if both and any(value is not None for value in table.column(first)):
                return first, second
    for column in TEXT_COLUMNS:
        if column in table.columns:
            return column, None
    raise ConversionError(
        f"{table.source} should have a column named text or sentence, or a pair such as text_a "
        f"and text_b; it has {_shown(table)}."
    )


def _shown(table: Table) -> str:
    return ", ".join(table.columns) or "none"


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
    where = choose_columns(table, labelled=labelled)
    words = [words_of(value) for value in table.column(where.text)] if where.words else None
    seconds = table.column(where.second) if where.second else [""] * len(table.rows)
    reasons = [
        table.broken.get(index) or (value if isinstance(value, str) else None)
        for index, value in enumerate(
            words if words is not None else map(why_unusable, table.column(where.text))
        )
    ]
    if where.second:
        pairs = zip(reasons, seconds, strict=True)
        reasons = [first or why_unusable(text, "second text") for first, text in pairs]
    kept, skipped = select_usable(reasons, table.source, table.places, on_error)
    left = table.pick(kept)
    kept_words = None if words is None else tuple(tuple(words[i]) for i in kept)
    labels, classes, kind, declared = _labels(left, where, names, regression, kept_words)
    texts = LabelledTexts(
        texts=tuple(left.column(where.text))
        if kept_words is None
        else tuple(map(" ".join, kept_words)),
        pairs=tuple(seconds[i] for i in kept) if where.second else None,
        labels=tuple(labels),
        label_names=classes,
        kind=kind,
        words=kept_words,
        places=tuple(left.places),
        skipped=skipped,
        declared=declared,
    )
    if labelled and not one_class:
        _refuse_one_class(texts, table.source)
    return texts


def words_of(value: Any) -> list[str] | str:
    """The words of a text that has a tag for each, or why there are none."""
    if isinstance(value, str):
        return value.split() or "has an empty text (0 words)"
    plain = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(plain, list | tuple):
        return f"should have a list of words, got {value!r}"
    if not plain:
        return "has an empty text (0 words)"
    odd = next((reason for word in plain if (reason := why_unusable(word, WORD))), None)
    return odd or list(plain)


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
        labels = [0] * count if words is None else [(0,) * len(row) for row in words]
        return labels, ("LABEL_0",), "classes" if words is None else "tags", None
    set_names = table.declared.get(column) or _spelled(table, column, regression)
    declared = (
        set_names
        if set_names and names and are_generic(names) and not generic_order(set_names)
        else None
    )
    raw = table.column(column)
    if words is not None:
        tags = [_entries(table, i, column, None) for i in range(count)]
        for index, (some, text) in enumerate(zip(tags, words, strict=True)):
            if len(some) != len(text):
                raise table.row_error(
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
        regression = not names and not set_names and is_regression(column, raw, table.row_error)
    if regression:
        if set_names:
            raise ConversionError(
                f"{table.source}: labels should be numbers for a regression model; the data set "
                f"has the classes {', '.join(set_names[:10])}."
            )
        return numbers(raw, table.row_error), None, "numbers", None
    if set_names:
        classes = tuple(names or set_names)
        if column not in table.declared:
            raw = [parse.position(text) for text in parse.label_texts(raw, column, table.row_error)]
        return (
            declared_ids(raw, set_names, classes, table.source, table.row_error),
            classes,
            "",
            declared,
        )
    texts = parse.label_texts(raw, column, table.row_error)
    classes = tuple(names or parse.class_names(texts, table.row_error))
    return (
        parse.class_ids(texts, classes, table.row_error, LABEL_READINGS.get(column)),
        classes,
        "",
        None,
    )


def _spelled(table: Table, column: str, regression: bool | None) -> tuple[str, ...] | None:
    """Names of the classes from a column that has them beside the class numbers."""
    if column != "label" or NAME_COLUMN not in table.columns or regression:
        return None
    labels = parse.label_texts(table.column(column), column, table.row_error)
    return names_beside(labels, table.column(NAME_COLUMN), table.row_error)


def _several(
    table: Table, lists: list[list[Any]], names: Names
) -> tuple[list[tuple[int, ...]], tuple[str, ...]]:
    """Classes of each text, from lists of them or from a zero or one for each class."""
    set_names = table.declared.get(SEVERAL_COLUMN)
    count = len(names) if names else None
    if not set_names and is_multi_hot(lists, count, table.row_error):
        hot_ids = ids_of_multi_hot(lists)
        return hot_ids, tuple(names or (f"LABEL_{i}" for i in range(len(lists[0]))))
    ids, classes = _grouped(table, SEVERAL_COLUMN, lists, names)
    for index, some in enumerate(ids):
        if len(set(some)) < len(some):
            raise table.row_error(
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

    def error_for(index: int, reason: str) -> Exception:
        return table.row_error(rows[index], reason)

    set_names = table.declared.get(column)
    if set_names:
        classes = tuple(names or set_names)
        ids = declared_ids(flat, set_names, classes, table.source, error_for)
    else:
        texts = parse.label_texts(flat, column, error_for)
        tags = column != SEVERAL_COLUMN and not all(map(str.isdigit, texts))
        classes = tuple(
            names or (sorted(set(texts)) if tags else parse.class_names(texts, error_for))
        )
        ids = parse.class_ids(texts, classes, error_for)
    left = iter(ids)
    return [tuple(next(left) for _ in some) for some in lists], classes


def _entries(table: Table, index: int, column: str, separator: str | None) -> list[Any]:
    """The labels of one row."""
    value = table.rows[index].get(column)
    if value is None:
        raise table.row_error(index, f"has no {column}; text and {column} should all be there")
    try:
        return parse.label_list(value, separator)
    except TypeError as error:
        raise table.row_error(
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
