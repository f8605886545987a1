"""Read tables and lines in files: nothing is dropped, every fault has a place."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import logging
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from thex_hf._choices import LINES, PARQUET, check_data_file
from thex_hf.errors import ConversionError, DataError
from thex_hf.tables.parquet import read_parquet
from thex_hf.tables.table import Place, Table, row_error

logger = logging.getLogger(__name__)
SEPARATORS = {".csv": ",", ".tsv": "\t"}
WORDS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UNDECODED = re.compile("[\udc80-\udcff]")
"""What stands for a byte that is no part of UTF-8."""


class Fault(NamedTuple):
    """What is wrong with a row: to be read after "row 3 ", and the error that says so."""

    reason: str
    error: DataError


Found: TypeAlias = Iterator[tuple[int | None, dict[str, Any] | Fault]]
"""The header, without a line, then for each row its first line and its values."""


def read_file(path: Path, columns: Sequence[str] = (), *, skip: bool = False) -> Table:
    """Read a file.

    Args:
        path: ends in ``.tsv``, ``.csv`` or ``.jsonl``, or in ``.txt`` for a text a line (column
            ``text``), perhaps followed by ``.gz``; or in ``.parquet``.
        columns: those that may be wanted; of Parquet others are not read. None named: all.
        skip: a row that cannot be read has no values, and its fault is in ``broken``.

    Raises:
        ConversionError: there is no such file, or it is not what its name says.
        DataError: a row with too few or too many fields, or a line that is no JSON object.
        BackendUnavailable: Parquet, and ``pyarrow`` is not installed.
    """
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    check_data_file(path)
    if kind == PARQUET:
        return read_parquet(path, columns)
    wanted = _wanted(path.name, kind)
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix.lower() == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ConversionError(f"{wanted}{error}.") from error
    return _table(content, path.name, kind, skip)


def read_lines(content: bytes, name: str, *, skip: bool = False) -> Table:
    """A text a line, in the column ``text``; an empty line is an empty text.

    Args:
        content: UTF-8, perhaps with a byte-order mark; any system's ends of lines.
        name: what to call it in a message.
        skip: as for :func:`read_file`.

    Raises:
        ConversionError: it is not UTF-8.
    """
    return _table(content, name, LINES, skip)


def _table(content: bytes, name: str, kind: str, skip: bool) -> Table:
    text = _decoded(content, name, kind, skip)
    read = {LINES: _lines, ".jsonl": _objects}.get(kind, _records)
    columns: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    places: list[Place] = []
    broken: dict[int, str] = {}
    for line, found in read(text, name, kind):
        if isinstance(found, Fault):
            if not skip:
                raise found.error
            reason, row = found.reason, {}
        else:
            reason = _undecoded(found.values()) if skip else ""
            row = {} if reason else found
        if reason:
            broken[len(rows)] = reason
        columns |= dict.fromkeys(row)
        if line is not None:
            rows.append(row)
            places.append(Place(len(rows), line))
    if kind == ".tsv":
        _look_for_quotes(rows, name)
    return Table(repr(name), tuple(columns), rows, places, broken=broken)


def _look_for_quotes(rows: list[dict[str, Any]], name: str) -> None:
    """Warn if quotation marks seem to stand around fields and not in them."""
    marked = [field for row in rows for field in row.values() if '"' in field]
    if marked and all(len(field) > 1 and field[0] == field[-1] == '"' for field in marked):
        logger.warning(
            "%s: %d fields stand between quotation marks, which TSV has no need of: they are taken "
            "as part of the text. Save the file as .csv if they are not.",
            name,
            len(marked),
        )


def _wanted(name: str, kind: str) -> str:
    return f"{name!r} should be UTF-8 {'text' if kind == LINES else kind[1:]} but cannot be read: "


def _decoded(content: bytes, name: str, kind: str, skip: bool) -> str:
    """The whole of it; with ``skip`` bytes that are not UTF-8 are let pass, to be found later."""
    wanted = _wanted(name, kind)
    cure = (
        "Convert it, for example with: iconv -f latin1 -t utf-8"
        if kind == LINES
        else "Save it as UTF-8 (in Excel: CSV UTF-8)"
    )
    if content.startswith(UTF_16) or b"\0" in content:
        raise ConversionError(f"{wanted}it is UTF-16, or no text. {cure}.")
    try:
        return content.decode("utf-8-sig", "surrogateescape" if skip else "strict")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConversionError(
            f"{wanted}line {line} holds {_byte(content[error.start])}. {cure}."
        ) from error


def _byte(value: int) -> str:
    return f"the byte 0x{value:02x}, which is not UTF-8"


def _undecoded(values: Iterable[Any]) -> str:
    """Why a row cannot be used that holds a byte which is not UTF-8; empty if it holds none."""
    found = next((x for v in values if isinstance(v, str) and (x := UNDECODED.search(v))), None)
    return "" if found is None else f"holds {_byte(ord(found.group()) & 0xFF)}"


def _lines(text: str, name: str, kind: str) -> Found:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    yield None, {"text": None}
    yield from ((number, {"text": line}) for number, line in enumerate(lines, start=1))


def _records(text: str, name: str, kind: str) -> Found:
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=SEPARATORS[kind],
        quoting=csv.QUOTE_NONE if kind == ".tsv" else csv.QUOTE_MINIMAL,
        strict=True,
    )
    header: list[str] = []
    count = 0
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            reason = f"cannot be read as CSV: {error}"
            fault = DataError(f"{name!r}, line {line}: {reason}.")
            if not header or reader.line_num > line:  # nobody knows how many rows are lost
                raise fault from error
            count += 1
            yield line, Fault(reason, fault)
            continue
        if fields is None:
            return
        if not any(field.strip() for field in fields):  # a blank line, also of a spreadsheet
            continue
        if not header:
            header = _header(fields, name, kind)
            yield None, dict.fromkeys(filter(None, header))
            continue
        count += 1
        if len(fields) != len(header):
            reason = _count(len(fields), len(header), kind)
            yield line, Fault(reason, row_error(repr(name), Place(count, line), reason))
        else:
            yield line, dict(zip(header, fields, strict=True))


def _header(fields: list[str], name: str, kind: str) -> list[str]:
    separator = SEPARATORS[kind]
    header = [field.strip() for field in fields]
    others = [sep for sep in WORDS if sep != separator and sep in header[0]]
    if len(header) == 1 and others:
        raise ConversionError(
            f"{name!r} should have columns parted by {WORDS[separator]}; its first line is "
            f"{header[0]!r}, which looks parted by {WORDS[others[0]]}. Save it with "
            f"{WORDS[separator]}."
        )
    twice = [column for column, count in Counter(header).items() if column and count > 1]
    if twice:
        raise ConversionError(
            f"{name!r} should have each column once; {', '.join(twice)} is there more than once."
        )
    return header


def _count(found: int, wanted: int, kind: str) -> str:
    cure = (
        "put texts with commas between quotation marks"
        if kind == ".csv"
        else "a text in TSV must not hold a tab or a line's end"
    )
    many = "more" if found > wanted else "fewer"
    fields = "1 field" if found == 1 else f"{found} fields"
    return f"has {fields}, {many} than the {wanted} columns of the first line; {cure}"


def _objects(text: str, name: str, kind: str) -> Found:
    for line, label_text in enumerate(map(str.rstrip, io.StringIO(text, newline="")), start=1):
        if not label_text:
            continue
        try:
            row = json.loads(label_text, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            reason = (
                f"cannot be read as JSON ({error.msg}, character {error.colno}); each line should "
                f"be a JSON object"
            )
        except (ValueError, RecursionError) as error:
            reason = f"cannot be read as JSON ({error})"
        else:
            if isinstance(row, dict):
                yield line, row
                continue
            reason = f"each line should be a JSON object; got {label_text[:80]!r}"
        yield line, Fault(reason, DataError(f"{name!r}, line {line}: {reason}."))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object each of whose names is there once."""
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(name for name, count in Counter(n for n, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} is there more than once")
    return row
