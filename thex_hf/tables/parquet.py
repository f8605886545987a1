"""Parquet files: read as a table, and written row group by row group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from thex_hf._extras import require
from thex_hf.errors import ConversionError
from thex_hf.tables.sets import declared_names
from thex_hf.tables.table import Place, Table

INSTALL = "'thex_hf[datasets]'"
ROWS = 10_000
"""Rows of a group, which are in memory at once when a file is written."""


def libraries() -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        BackendUnavailable: they are not installed.
    """
    why = "reading and writing Parquet"
    return (
        require("pyarrow", install=INSTALL, purpose=why),
        require("pyarrow.parquet", install=INSTALL, purpose=why),
    )


def read_parquet(path: Path, columns: Sequence[str] = ()) -> Table:
    """Read a Parquet file.

    Args:
        path: of the file.
        columns: those that may be wanted; others are not read. None named: all.

    Raises:
        ConversionError: it is none, or has a column twice.
        BackendUnavailable: ``pyarrow`` is not installed; or ``datasets``, which wrote the file.
    """
    _, parquet = libraries()
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            wanted = [name for name in columns if name in schema.names]
            rows = file.read(columns=wanted or None).to_pylist()
    except Exception as error:  # the library raises what it likes
        raise ConversionError(
            f"{path.name!r} should be a Parquet file but cannot be read: {error}."
        ) from error
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise ConversionError(
            f"{path.name!r} should have each column once; {', '.join(twice)} is there more than "
            f"once."
        )
    places = [Place(row) for row in range(1, len(rows) + 1)]
    return Table(repr(path.name), tuple(schema.names), rows, places, _declared(schema, path))


def _declared(schema: Any, path: Path) -> dict[str, tuple[str, ...]]:
    """Names of classes that ``datasets`` wrote beside the columns."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    datasets = require("datasets", install=INSTALL, purpose=f"reading {path.name!r}")
    features = datasets.Features.from_arrow_schema(schema)
    return {name: names for name, feature in features.items() if (names := declared_names(feature))}


def whole_numbers(values: Sequence[Any]) -> bool:
    """Whether Parquet can hold the values as a column of whole numbers; None is one too."""
    return all(value is None or (type(value) is int and abs(value) < 2**63) for value in values)


def write_parquet(
    file: IO[bytes], kinds: Mapping[str, str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write a table.

    Args:
        file: where to.
        kinds: of each column in order: ``text``, ``whole``, ``number``, or ``scores`` for lists of
            ``{"label": ..., "score": ...}``.
        rows: their values; all may be None.

    Raises:
        OSError: it cannot be written.
        BackendUnavailable: ``pyarrow`` is not installed.
    """
    arrow, parquet = libraries()
    types = {"text": arrow.string(), "whole": arrow.int64(), "number": arrow.float64()}
    pair = arrow.struct({"label": types["text"], "score": types["number"]})
    types["scores"] = arrow.list_(pair)
    schema = arrow.schema([(name, types[kind]) for name, kind in kinds.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        left = iter(rows)
        while some := list(islice(left, ROWS)):
            writer.write_table(arrow.Table.from_pylist(some, schema=schema))
