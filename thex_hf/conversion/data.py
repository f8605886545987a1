"""Read labelled texts from TSV, CSV and JSON-lines files, or from a data set's name."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thex_hf._extras import require
from thex_hf.errors import ConversionError

TEXT_COLUMNS = ("text", "sentence")
PAIR_COLUMNS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("premise", "hypothesis"),
)
LABEL_COLUMNS = ("label", "score")
SUFFIXES = (".tsv", ".csv", ".jsonl")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, their second halves where there are pairs, and their labels.

    ``labels`` are class ids, or numbers where ``label_names`` is None (regression).
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[float, ...]
    label_names: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.texts)


def read_texts(
    source: str | Path,
    *,
    split: str = "train",
    label_names: Sequence[str] | None = None,
    regression: bool = False,
) -> LabelledTexts:
    """Read a file, or a split of a data set by its Hub name.

    Args:
        source: a path ending in ``.tsv``, ``.csv`` or ``.jsonl``, perhaps followed by
            ``.gz``; else a name for ``datasets.load_dataset``, such as ``"glue/sst2"``.
            Columns are ``text`` or ``sentence``, or a pair such as ``text_a`` and
            ``text_b``, and ``label``. TSV is read without quoting.
        split: which split of a named data set.
        label_names: names of the classes in order, to which labels are matched. A
            label that is a number stands for the class of that position. None: the
            numbers, or the names in alphabetical order, become the classes.
        regression: labels are numbers to predict.

    Raises:
        ConversionError: missing file or column, no rows, a label that fits nothing,
            or only one class.
    """
    path = Path(source)
    rows: Iterator[Row]
    if any(str(path).removesuffix(".gz").endswith(suffix) for suffix in SUFFIXES):
        rows = _read_file(path)
    else:
        rows, names = _read_dataset(str(source), split)
        label_names = label_names or names
    return _collect(list(rows), str(source), label_names, regression)


def _read_file(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise ConversionError(f"no data file at {str(path)!r}: check the path.")
    opener = gzip.open if path.suffix == ".gz" else open
    kind = Path(path.name.removesuffix(".gz")).suffix
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            if kind == ".jsonl":
                yield from (json.loads(line) for line in file if line.strip())
            elif kind == ".tsv":
                yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                yield from csv.DictReader(file)
    except (UnicodeDecodeError, json.JSONDecodeError, gzip.BadGzipFile, csv.Error) as error:
        raise ConversionError(
            f"{path.name!r} should be UTF-8 {kind[1:]} but cannot be read: {error}."
        ) from error


def _read_dataset(name: str, split: str) -> tuple[Iterator[Row], Sequence[str] | None]:
    datasets = require(
        "datasets", install="'thex_hf[datasets]'", purpose=f"reading the data set {name!r}"
    )
    owner, _, config = name.partition("/")
    known = owner in ("glue", "super_glue") and config
    try:
        loaded = datasets.load_dataset(*([owner, config] if known else [name]), split=split)
    except Exception as error:
        raise ConversionError(
            f"{name!r} is neither a file ending in {', '.join(SUFFIXES)} (or .gz after it) nor "
            f"a data set with split {split!r} that could be loaded "
            f"({type(error).__name__}: {error})."
        ) from error
    feature = loaded.features.get("label")
    return iter(loaded), getattr(feature, "names", None)


def _collect(
    rows: list[Any], source: str, names: Sequence[str] | None, regression: bool
) -> LabelledTexts:
    if not rows:
        raise ConversionError(f"{source!r} has no rows; labelled texts are needed.")
    odd = next((row for row in rows if not isinstance(row, Mapping)), None)
    if odd is not None:
        raise ConversionError(f"{source!r}: each line should be a JSON object; got {odd!r}.")
    first, second = _text_columns(rows[0], source)
    label = next((c for c in LABEL_COLUMNS if c in rows[0]), None)
    if label is None:
        raise ConversionError(
            f"{source!r} should have a column named label; it has {', '.join(rows[0])}."
        )
    wanted = [first, label] + ([second] if second else [])
    for number, row in enumerate(rows, start=1):
        if any(row.get(column) is None for column in wanted):
            raise ConversionError(
                f"{source!r}, row {number}: {', '.join(wanted)} should all be there; got {row!r}."
            )
    raw = [str(row[label]).strip() for row in rows]
    classes = None if regression else _class_names(raw, names)
    return LabelledTexts(
        texts=tuple(str(row[first]) for row in rows),
        pairs=tuple(str(row[second]) for row in rows) if second else None,
        labels=tuple(_label_ids(raw, classes, source)),
        label_names=classes,
    )


def _text_columns(row: Row, source: str) -> tuple[str, str | None]:
    for first, second in PAIR_COLUMNS:
        if first in row and second in row:
            return first, second
    for column in TEXT_COLUMNS:
        if column in row:
            return column, None
    raise ConversionError(
        f"{source!r} should have a column named text or sentence, or a pair such as text_a and "
        f"text_b; it has {', '.join(map(str, row))}."
    )


def _class_names(raw: list[str], names: Sequence[str] | None) -> tuple[str, ...]:
    if names is not None:
        return tuple(names)
    found = set(raw)
    if all(value.isdigit() for value in found):
        return tuple(f"LABEL_{i}" for i in range(max(map(int, found)) + 1))
    return tuple(sorted(found))


def _label_ids(raw: list[str], names: Sequence[str] | None, source: str) -> list[float]:
    if names is None:
        try:
            return [float(value) for value in raw]
        except ValueError as error:
            raise ConversionError(
                f"{source!r}: labels should be numbers for a regression model: {error}."
            ) from error
    ids = {name: i for i, name in enumerate(names)} | {str(i): i for i in range(len(names))}
    unknown = sorted(set(raw) - set(ids))
    if unknown:
        raise ConversionError(
            f"{source!r}: labels should be among {', '.join(names)} (or 0 to "
            f"{len(names) - 1}); got also {', '.join(unknown[:5])}. Convert a model that was "
            "fine-tuned with this number of labels."
        )
    if len(set(raw)) < 2:
        raise ConversionError(
            f"{source!r}: every row has label {raw[0]!r}; at least two classes are needed."
        )
    return [ids[value] for value in raw]
