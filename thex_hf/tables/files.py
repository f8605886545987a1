"""Read TSV, CSV and JSON-lines files: nothing is dropped, every fault has a place."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thex_hf._choices import check_data_file
from thex_hf.errors import ConversionError, DataError
from thex_hf.tables.table import Place, Table, row_error

logger = logging.getLogger(__name__)
SEPARATORS = {".csv": ",", ".tsv": "\t"}
WORDS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_file(path: Path) -> Table:
    """Read a file.

    Args:
        path: ends in ``.tsv``, ``.csv`` or ``.jsonl``, perhaps followed by ``.gz``.

    Raises:
        ConversionError: there is no such file, or it is not what its name says.
        DataError: a row with too few or too many fields, or a line that is no JSON object.
    """
    kind = Path(path.name.removesuffix(".gz")).suffix
    text = _text(path, kind)
    read = _objects if kind == ".jsonl" else _records
    columns: dict[str, None] = {}
    rows, places = [], []
    for line, row in read(text, path.name, kind):
        columns |= dict.fromkeys(row)
        if line is not None:
            rows.append(row)
            places.append(Place(len(rows), line))
    if kind == ".tsv":
        _look_for_quotes(rows, path.name)
    return Table(repr(path.name), tuple(columns), rows, places)


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


def _text(path: Path, kind: str) -> str:
    """The whole file, decoded."""
    check_data_file(path)
    wanted = f"{path.name!r} should be UTF-8 {kind[1:]} but cannot be read: "
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ConversionError(f"{wanted}{error}.") from error
    if content.startswith(UTF_16) or b"\0" in content:
        raise ConversionError(
            f"{wanted}it is UTF-16, or no text. Save it as UTF-8 (in Excel: CSV UTF-8)."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConversionError(
            f"{wanted}line {line} holds the byte 0x{content[error.start]:02x}, which is not UTF-8. "
            f"Save it as UTF-8 (in Excel: CSV UTF-8)."
        ) from error


def _records(text: str, name: str, kind: str) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """The header, without a line, then for each record its first line and its fields."""
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
            raise DataError(f"{name!r}, line {line}: cannot be read as CSV: {error}.") from error
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
            raise row_error(repr(name), Place(count, line), _count(len(fields), len(header), kind))
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


def _objects(text: str, name: str, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """For each object its line and its values."""
    for line, label_text in enumerate(map(str.rstrip, io.StringIO(text, newline="")), start=1):
        if not label_text:
            continue
        where = f"{name!r}, line {line}: "
        try:
            row = json.loads(label_text, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}cannot be read as JSON ({error.msg}, character {error.colno}); each line "
                f"should be a JSON object."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}cannot be read as JSON ({error}).") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}each line should be a JSON object; got {label_text[:80]!r}.")
        yield line, row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object each of whose names is there once."""
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(name for name, count in Counter(n for n, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} is there more than once")
    return row
