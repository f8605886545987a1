"""The texts to score a model on: which labels they need, and which of them to take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from thex_hf.conversion.data.collecting import KNOWN_COLUMNS, NAME_COLUMN, collect
from thex_hf.conversion.data.naming import align_labels, select_texts
from thex_hf.conversion.data.reading import LabelledTexts, is_data_set, read_texts, table_of
from thex_hf.conversion.data.table import Place, Table
from thex_hf.errors import InputError, OptionError
from thex_hf.tokens.texts import join_words

Data: TypeAlias = str | os.PathLike[str] | LabelledTexts | Iterable[Mapping[str, Any]]


def kind_of(config: Any, every_token: bool = False) -> str:
    """What a model of that configuration answers: ``classes``, ``numbers``, ``multi`` or ``tags``.

    Args:
        config: of the model.
        every_token: the model classifies tokens, not texts.
    """
    if every_token:
        return "tags"
    if config.problem_type == "regression" or config.num_labels == 1:
        return "numbers"
    return "multi" if config.problem_type == "multi_label_classification" else "classes"


def label_names(config: Any) -> list[str]:
    """Names of a model's classes, in the order of its logits."""
    return [str(config.id2label[i]) for i in range(config.num_labels)]


def read(
    data: Data, config: Any, split: str, *, every_token: bool = False, on_error: str = "raise"
) -> LabelledTexts:
    """Texts whose labels fit the model.

    Args:
        data: a file, the name or folder of a data set, or a data set of ``datasets``, see
            :func:`thex_hf.conversion.data.reading.read_texts`; texts read before, whose class names
            are the model's in any order; or rows with
            ``text``, perhaps ``text_pair``, and ``label`` (a class position or name, a number for
            a regression model, a list for one with several classes a text); or, for a model that
            classifies tokens, ``tokens`` and ``tags``.
        config: of the model.
        split: which split of a named data set.
        every_token: the model classifies tokens.
        on_error: ``skip`` leaves out rows whose text is missing or empty; ``raise`` refuses.

    Raises:
        ConversionError: missing file or column, no rows, or class names that are not the model's.
        DataError: a row with an unusable text, or with a label that fits nothing.
        InputError: labels of another kind than the model's, or odd rows.
        OptionError: ``on_error`` is not on offer.
    """
    kind, names = kind_of(config, every_token), label_names(config)
    wanted = None if kind == "numbers" else names
    if isinstance(data, Mapping) and split in data:  # all splits of a data set
        data = data[split]
    if isinstance(data, LabelledTexts):
        if not len(data):
            raise InputError("there are no texts to score; the data are empty")
        found = select_texts(data, on_error)
    elif isinstance(data, str | os.PathLike):
        found = read_texts(
            Path(data) if isinstance(data, os.PathLike) else data,
            split=split,
            label_names=wanted,
            regression=wanted is None,
            one_class=True,
            on_error=on_error,
        )
    else:
        table = (
            table_of(data, "the data set", KNOWN_COLUMNS)
            if is_data_set(data)
            else _rows(list(data), kind)
        )
        found = collect(table, wanted, wanted is None, one_class=True, on_error=on_error)
    if found.kind != kind:
        raise InputError(
            f"the model answers with {kind}, the labels of the data are {found.kind}; take data "
            f"of the model's task"
        )
    return align_labels(found, names)


def spread(texts: LabelledTexts, limit: int | None) -> LabelledTexts:
    """At most ``limit`` texts, spread evenly over all, in their order; all if None.

    Raises:
        OptionError: ``limit`` is less than one.
    """
    if limit is None:
        return texts
    if not isinstance(limit, int) or limit < 1:
        raise OptionError(f"limit must be at least 1, got {limit}")
    total = len(texts)
    return texts.pick([i * total // limit for i in range(limit)] if limit < total else range(total))


def inputs_of(texts: LabelledTexts) -> list[Any]:
    """What the pipeline takes: texts, or dictionaries where there are pairs.

    Words are joined by blanks, as they are for training.
    """
    if texts.words is not None:
        return [join_words(own)[0] for own in texts.words]
    if texts.pairs is None:
        return list(texts.texts)
    return [
        {"text": first, "text_pair": second}
        for first, second in zip(texts.texts, texts.pairs, strict=True)
    ]


def _rows(rows: Sequence[Any], kind: str) -> Table:
    """A table of rows that were given, with the columns that suit the model."""
    text, label = ("tokens", "tags") if kind == "tags" else ("text", "label")
    if not rows:
        raise InputError("there are no texts to score; the data are empty")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping) or not {text, label} <= {*row}:
            raise InputError(
                f"each row should be a dictionary with {text!r} and {label!r}, got {row!r} as row "
                f"{number}"
            )
    column = "labels" if kind == "multi" else label
    paired = kind != "tags" and any(row.get("text_pair") is not None for row in rows)
    named = all(NAME_COLUMN in row for row in rows)
    found = [
        {text: row[text], column: row[label]}
        | ({"text_pair": row.get("text_pair")} if paired else {})
        | ({NAME_COLUMN: row[NAME_COLUMN]} if named else {})
        for row in rows
    ]
    return Table("", tuple(found[0]), found, [Place(i) for i in range(1, len(rows) + 1)])
