"""The texts that ``thex-hf classify`` is given: as arguments, on standard input, or in a file."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from thex_hf._paths import user_path
from thex_hf.errors import InputError, TextError

TABLES = (".tsv", ".csv", ".jsonl")
SUFFIXES = (".txt", *TABLES)
INPUT, STDIN = "-", "standard input"

Found: TypeAlias = Mapping[str, Any] | TextError
"""Of one text its record, or why it has none."""


@dataclass(frozen=True)
class Text:
    """One text, or a pair; either is None where a row of a file has none.

    ``place`` names it in errors; None: it is the only one.
    """

    text: str | None
    pair: str | None = None
    place: str | None = None

    @property
    def halves(self) -> tuple[Any, Any]:
        """Text and pair."""
        return self.text, self.pair

    @property
    def given(self) -> Any:
        """As a pipeline takes it."""
        return self.text if self.pair is None else {"text": self.text, "text_pair": self.pair}

    def refused(self, error: TextError, row: int) -> TextError:
        """The error of this text, the one at ``row`` of several, from 1."""
        return error if self.place is None else error.at(row, self.place)


def read_texts(arguments: Sequence[str], file: Path | None) -> list[Text]:
    """What there is to classify.

    Args:
        arguments: texts; ``-`` alone reads standard input, one text a line.
        file: ``.txt``, one text a line; or ``.tsv``, ``.csv``, ``.jsonl`` with a column ``text``
            and perhaps ``text_pair``.

    Raises:
        InputError: nothing, too much, the name of a file in place of a text, or what cannot be
            read as texts.
    """
    if file is not None:
        if arguments:
            raise InputError("give texts, or --file, not both")
        return list(_of_file(user_path("file", file)))
    if not arguments:
        raise InputError("give at least one text to classify, or - for standard input, or --file")
    if INPUT in arguments:
        if len(arguments) > 1:
            raise InputError("- reads all texts from standard input; give no other text with it")
        return list(_lines(_decoded(sys.stdin.buffer.read(), STDIN), STDIN))
    for argument in arguments:
        _refuse_file_name(argument)
    if len(arguments) == 1:
        return [Text(arguments[0])]
    return [Text(text, place=f"text {row}") for row, text in enumerate(arguments, 1)]


def _refuse_file_name(argument: str) -> None:
    path = os.path.expanduser(argument)
    ending = os.path.splitext(path.removesuffix(".gz"))[1].lower()
    if os.path.isfile(path):
        raise InputError(
            f"{argument!r} is the name of a file, not a text; to classify what is in it: --file "
            f"{argument}; to classify the name itself, send it to: thex-hf classify -"
        )
    if ending in SUFFIXES:
        raise InputError(
            f"{argument!r} looks like the name of a file, and there is none; check the path and "
            f"give it with --file. If it is a text, send it to: thex-hf classify -"
        )


def _of_file(path: Path) -> Iterator[Text]:
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise InputError(f"{str(path)!r} should be a file of texts ending in {', '.join(SUFFIXES)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}; check it") from error
    text = _decoded(data, str(path))
    if kind == ".txt":
        yield from _lines(text, str(path))
        return
    rows = list(_records(text, kind, str(path)))
    if not rows:
        raise InputError(f"{str(path)!r} has no texts")
    single = next((row for row in rows if row.pair is None), None)
    if single is not None and any(row.pair is not None for row in rows):
        raise InputError(f"{single.place}: has no text_pair, and other rows have one")
    yield from rows


def _decoded(data: bytes, name: str) -> str:
    """UTF-8 text, without a byte-order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name} should be UTF-8, and line {line} is not; convert it, for example with: "
            f"iconv -f latin1 -t utf-8"
        ) from None


def _lines(text: str, name: str) -> Iterator[Text]:
    """One text a line, whichever system ends its lines; an empty line is an empty text."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise InputError(f"{name} is empty; there is nothing to classify")
    yield from (Text(x, place=f"{name}, line {row}") for row, x in enumerate(lines, 1))


def _records(text: str, kind: str, name: str) -> Iterator[Text]:
    """Rows of a table by the columns ``text`` and ``text_pair``."""
    try:
        if kind == ".jsonl":
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    yield _record(_json(line, name, number), name, number)
            return
        file, mark = io.StringIO(text, newline=""), "," if kind == ".csv" else "\t"
        if kind == ".csv":
            table = csv.DictReader(file, strict=True)
        else:
            table = csv.DictReader(file, delimiter=mark, quoting=csv.QUOTE_NONE)
        twice = [c for c, count in Counter(table.fieldnames or []).items() if count > 1]
        if twice:
            raise InputError(f"{name} should have each column once; {twice[0]!r} is there twice")
        for row in table:
            if None in row or None in row.values():
                raise InputError(
                    f"{name}, line {table.line_num}: as many fields as the header are wanted, "
                    f"{len(table.fieldnames or [])}; is a {'tab' if mark != ',' else 'comma'} in "
                    f"a text, or a field missing?"
                )
            yield _record(row, name, table.line_num)
    except csv.Error as error:
        raise InputError(f"{name} cannot be read: {error}") from error


def _json(line: str, name: str, number: int) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}, line {number} should be a JSON object: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name is there twice")
    return fields


def _record(row: Any, name: str, number: int) -> Text:
    if not isinstance(row, Mapping) or "text" not in row:
        got = list(row) if isinstance(row, Mapping) else type(row).__name__
        raise InputError(
            f"{name}, line {number}: expected a column text, and perhaps text_pair; got {got}"
        )
    return Text(row["text"], row.get("text_pair"), f"{name}, line {number}")
