"""A table as it was found, and how to speak of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thex_hf.errors import DataError


@dataclass(frozen=True)
class Place:
    """Where a text stands: which row, the first being 1, and in a file its line."""

    row: int
    line: int | None = None


@dataclass(frozen=True)
class Table:
    """Rows of a file, of a data set, or as they were given.

    Args:
        source: what to call it in a message; may be empty.
        columns: names of all columns, also of those that the rows lack.
        rows: from column to value.
        places: of each row.
        declared: names of the classes, in order, of each column for which a data set declares
            them; the values of that column are positions among them.
        broken: by the index of a row that could not be read, and has no values, what is wrong with
            it, to be read after "row 3 ".
    """

    source: str
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    places: Sequence[Place]
    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    broken: Mapping[int, str] = field(default_factory=dict)

    def column(self, name: str) -> list[Any]:
        """The values of a column, None where a row has none."""
        return [row.get(name) for row in self.rows]

    def pick(self, kept: Sequence[int]) -> Table:
        """A copy with some of the rows, none of them broken."""
        return Table(
            self.source,
            self.columns,
            [self.rows[i] for i in kept],
            [self.places[i] for i in kept],
            self.declared,
        )

    def row_error(self, index: int, reason: str) -> DataError:
        """The error to raise for a row.

        Args:
            index: of the row in ``rows``.
            reason: what is wrong, to be read after "row 3 ".
        """
        return row_error(self.source, self.places[index], reason)


def row_error(source: str, place: Place, reason: str) -> DataError:
    """The error to raise for a row: it names the source, the line and the row."""
    line = "" if place.line is None else f"line {place.line}"
    where = ", ".join(part for part in (source, line) if part)
    return DataError(f"{where}{': ' if where else ''}row {place.row} {reason}.")
