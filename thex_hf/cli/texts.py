"""The texts that ``thex-hf classify`` is given: arguments, standard input, a file, a data set."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from thex_hf._choices import LINES, TABLE_NAMES, is_file_name, is_lines_name
from thex_hf._paths import user_path
from thex_hf.errors import ConversionError, InputError, OptionError, TextError
from thex_hf.tables.files import read_file, read_lines
from thex_hf.tables.table import Table

INPUT, STDIN = "-", "standard input"
PAIR = "text_pair"
COLUMNS = ("text", PAIR)
ID = "id"
"""The column that is carried from texts to answers."""

Found: TypeAlias = Mapping[str, Any] | TextError
"""Of one text its record, or why it has none."""


@dataclass(frozen=True)
class Text:
    """One text, or a pair; either is None where a row of a file has none.

    ``place`` names it in errors; None: it is the only one. ``row`` counts from 1, ``id`` is what
    the row calls it, and ``fault`` says why there is nothing to classify.
    """

    text: str | None
    pair: str | None = None
    place: str | None = None
    row: int = 1
    id: Any = None
    fault: TextError | None = None

    @property
    def halves(self) -> tuple[Any, Any]:
        """Text and pair."""
        return self.text, self.pair

    @property
    def given(self) -> Any:
        """As a pipeline takes it."""
        return self.text if self.pair is None else {"text": self.text, "text_pair": self.pair}

    def refused(self, error: TextError) -> TextError:
        """The error of this text, with its place if there are several."""
        return error if self.place is None else error.at(self.row, self.place)


def read_texts(
    arguments: Sequence[str],
    file: Path | None,
    *,
    data: str | None = None,
    split: str = "validation",
    columns: Sequence[str] = (),
    skip: bool = False,
) -> list[Text]:
    """What there is to classify.

    Args:
        arguments: texts; ``-`` alone reads standard input, one text a line.
        file: ``.txt``, one text a line; or ``.tsv``, ``.csv``, ``.jsonl``, ``.parquet`` with a
            column ``text`` and perhaps ``text_pair``. ``.gz`` may follow, but for Parquet.
        data: such a file, or the name or folder of a data set of ``datasets``.
        split: of a data set.
        columns: of the texts, and of the second ones of pairs, where they are called otherwise.
        skip: let rows pass that cannot be read.

    Raises:
        InputError: nothing, too much, the name of a file in place of a text, or what cannot be
            read as texts.
        OptionError: more columns than two, or columns of what has none.
        BackendUnavailable: a library that reads such data is not installed.
    """
    sources = (bool(arguments), file is not None, data is not None)
    if sum(sources) > 1:
        raise InputError("give texts, or --file, or --data, not both")
    if len(columns) > 2:
        raise OptionError(
            f"--column names the texts, and once more the second texts of pairs; got "
            f"{', '.join(columns)}"
        )
    if file is not None:
        _refuse_ending(file)
    source = data if file is None else str(file)
    if source is not None:
        wanted = columns or COLUMNS
        return _texts_of(_table(source, split, wanted, skip), source, columns, skip)
    if columns:
        raise OptionError("--column goes with --file or --data: leave it out")
    if not arguments:
        raise InputError(
            "give at least one text to classify, or - for standard input, or --file, or --data"
        )
    if INPUT in arguments:
        if len(arguments) > 1:
            raise InputError("- reads all texts from standard input; give no other text with it")
        try:
            table = read_lines(sys.stdin.buffer.read(), STDIN, skip=skip)
        except ConversionError as error:
            raise InputError(str(error)) from error
        return _texts_of(table, STDIN, (), skip)
    for argument in arguments:
        _refuse_file_name(argument)
    if len(arguments) == 1:
        return [Text(arguments[0])]
    return [Text(text, place=f"text {row}", row=row) for row, text in enumerate(arguments, 1)]


def _refuse_ending(file: Path) -> None:
    if file.is_dir():
        raise InputError(
            f"{str(file)!r} is a folder, not a file of texts; for a data set in it: --data {file}"
        )
    if not _is_file_name(file.name):
        raise InputError(
            f"{str(file)!r} should be a file of texts ending in {LINES}, {TABLE_NAMES}"
        )


def _refuse_file_name(argument: str) -> None:
    path = os.path.expanduser(argument)
    if os.path.isfile(path):
        raise InputError(
            f"{argument!r} is the name of a file, not a text; to classify what is in it: --file "
            f"{argument}; to classify the name itself, send it to: thex-hf classify -"
        )
    if _is_file_name(path):
        raise InputError(
            f"{argument!r} looks like the name of a file, and there is none; check the path and "
            f"give it with --file. If it is a text, send it to: thex-hf classify -"
        )


def _table(source: str, split: str, columns: Sequence[str], skip: bool) -> Table:
    """A file, or a split of a data set."""
    try:
        path = user_path("file", source)
        if path.is_dir() or not _is_file_name(source):
            from thex_hf.tables.sets import open_set, table_of

            return table_of(open_set(source, split), source, (*columns, ID))
        try:
            path.stat()
        except OSError as error:
            raise InputError(f"{source!r} cannot be read: {error.strerror}; check it") from error
        return read_file(path, (*columns, ID), skip=skip)
    except ConversionError as error:
        raise InputError(str(error)) from error


def _is_file_name(name: str) -> bool:
    return is_file_name(name) or is_lines_name(name)


def _texts_of(table: Table, name: str, columns: Sequence[str], skip: bool) -> list[Text]:
    """The rows of a table that has these columns, by default ``text`` and perhaps ``text_pair``.

    Raises:
        InputError: there are no rows or no such column; or, unless they are skipped, a row that
            cannot be read, or has no second text where others have one.
    """
    if not table.rows:
        raise InputError(f"{name} is empty: it has no texts, and there is nothing to classify")
    wanted = columns or COLUMNS
    missing = [column for column in wanted if column not in table.columns]
    if missing and (columns or missing != [PAIR]):
        raise InputError(
            f"{name}: expected a column {' and a column '.join(columns or COLUMNS[:1])}, got "
            f"{', '.join(table.columns) or 'none'}; name that of the texts with --column"
        )
    first, second = wanted[0], None if missing or len(wanted) == 1 else wanted[1]
    paired = second is not None and any(row.get(second) is not None for row in table.rows)
    texts = []
    for index, (row, place) in enumerate(zip(table.rows, table.places, strict=True)):
        where = f"{name}, " + (f"row {place.row}" if place.line is None else f"line {place.line}")
        reason = table.broken.get(index)
        pair = row.get(second) if paired and second is not None else None
        if reason is None and paired and pair is None:
            reason = f"has no {second}, and other rows have one"
        fault = None if reason is None else InputError(reason)
        text = Text(row.get(first), pair, where, place.row, row.get(ID), fault)
        if fault is not None and not skip:
            raise text.refused(fault)
        texts.append(text)
    return texts
