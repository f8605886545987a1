"""Which columns of a table hold the texts and the labels."""

from __future__ import annotations

from dataclasses import dataclass

from thex_hf.conversion.data.table import Table
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
