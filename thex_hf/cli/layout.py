"""How answers stand in a file: columns, and one line of JSON or CSV for each text; or Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thex_hf.cli.journal import new_file, unwritten
from thex_hf.cli.texts import Found, Text
from thex_hf.errors import TextError

SUFFIXES = (".jsonl", ".csv", ".parquet")
CSV, PARQUET = SUFFIXES[1:]
KINDS = {
    "id": "text",
    "row": "whole",
    "text": "text",
    "text_pair": "text",
    "label": "text",
    "score": "number",
    "scores": "scores",
    "clear_label": "text",
    "largest_logit_difference": "number",
    "error": "text",
}
"""All columns in order; for what they hold see :func:`thex_hf.tables.parquet.write_parquet`."""


@dataclass(frozen=True)
class Layout:
    """The columns of one file, and their form.

    Args:
        suffix: one of :data:`SUFFIXES`. Rows of Parquet are JSON until all are there.
        kinds: of the columns in order.
    """

    suffix: str
    kinds: Mapping[str, str]

    @classmethod
    def of(cls, suffix: str, texts: Sequence[Text], *, scores: bool, agreement: bool) -> Layout:
        """That for some texts.

        Args:
            suffix: one of :data:`SUFFIXES`.
            texts: to be answered.
            scores: answers have several scores.
            agreement: they are compared with the clear model's.

        Raises:
            BackendUnavailable: Parquet, and ``pyarrow`` is not installed.
        """
        wanted = {
            "id": any(text.id is not None for text in texts),
            "text_pair": any(text.pair is not None for text in texts),
            "scores": scores,
            "clear_label": agreement,
            "largest_logit_difference": agreement,
        }
        kinds = {name: kind for name, kind in KINDS.items() if wanted.get(name, True)}
        if suffix == PARQUET:
            from thex_hf.tables.parquet import libraries, whole_numbers

            libraries()
            if "id" in kinds and whole_numbers([text.id for text in texts]):
                kinds["id"] = "whole"
        return cls(suffix, kinds)

    @property
    def is_csv(self) -> bool:
        """Whether there is a header, and quotation marks around some fields."""
        return self.suffix == CSV

    def header(self) -> bytes:
        """What stands before the first row."""
        return _comma_separated(self.kinds) if self.is_csv else b""

    def line(self, text: Text, record: Found) -> bytes:
        """The row of one text, its line's end included."""
        row = {name: value for name, value in _row(text, record).items() if name in self.kinds}
        if self.is_csv:
            return _comma_separated(
                json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
                for value in row.values()
            )
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()

    def row_of(self, line: bytes) -> int | None:
        """Which text a line answers; None: it cannot be told."""
        try:
            if not self.is_csv:
                return int(json.loads(line)["row"])
            (values,) = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)
            return int(dict(zip(self.kinds, values, strict=True))["row"])
        except (ValueError, KeyError, TypeError, csv.Error):
            return None

    def save_parquet(self, rows: Path, path: Path) -> None:
        """Write a Parquet file, mode 0600, whole or not at all.

        Args:
            rows: file of the rows as JSON.
            path: of the file.

        Raises:
            OutputError: it cannot be written.
        """
        from thex_hf.tables.parquet import write_parquet

        part = path.with_name(path.name + ".tmp")
        try:
            with open(new_file(part), "wb") as file:
                write_parquet(file, self.kinds, self._values(rows))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise unwritten(path, error) from error

    def _values(self, rows: Path) -> Iterator[dict[str, Any]]:
        with open(rows, "rb") as file:
            for line in file:
                row = json.loads(line)
                if self.kinds.get("id") == "text" and row["id"] is not None:
                    row["id"] = str(row["id"])
                yield row


def _row(text: Text, record: Found) -> dict[str, Any]:
    """The values of all columns; None where there is none."""
    own = text.id
    found: dict[str, Any] = dict.fromkeys(KINDS)
    found["id"] = own if own is None or isinstance(own, int | float) else _plain(str(own))
    found["row"] = text.row
    found["text"], found["text_pair"] = map(_plain, text.halves)
    if isinstance(record, TextError):
        return {**found, "error": _plain(str(record))}
    found |= {name: record.get(name) for name in ("label", "score", "scores")}
    compared = record.get("agreement") or {}
    found["clear_label"] = compared.get("label")
    found["largest_logit_difference"] = compared.get("largest_logit_difference")
    return found


def _plain(text: Any) -> str | None:
    """A text as UTF-8 can hold it; None if it is none."""
    if not isinstance(text, str):
        return None
    return text.encode("utf-8", "backslashreplace").decode()


def _comma_separated(values: Iterable[Any]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue().encode()
