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
from thex_hf.conversion import labels as parse
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
SEVERAL_COLUMN = "labels"
TAG_COLUMNS = ("tags", "ner_tags")
WORD_COLUMNS = ("tokens", "words", "text")
SUFFIXES = (".tsv", ".csv", ".jsonl")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, their second halves where there are pairs, and their labels.

    ``kind`` is one of :data:`thex_hf.conversion.labels.KINDS` and says what ``labels`` are: class
    ids; numbers (then ``label_names`` is None); for each text a tuple of class ids; or, with
    ``words``, a class id for each word.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[Any, ...]
    label_names: tuple[str, ...] | None
    kind: str = ""
    words: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", "numbers" if self.label_names is None else "classes")

    def __len__(self) -> int:
        return len(self.texts)


def read_texts(
    source: str | Path,
    *,
    split: str = "train",
    label_names: Sequence[str] | None = None,
    regression: bool | None = False,
    one_class: bool = False,
) -> LabelledTexts:
    """Read a file, or a split of a data set by its Hub name.

    Args:
        source: a path ending in ``.tsv``, ``.csv`` or ``.jsonl``, perhaps followed by
            ``.gz``; else a name for ``datasets.load_dataset``, such as ``"glue/sst2"``.
            Columns are ``text`` or ``sentence``, or a pair such as ``text_a`` and
            ``text_b``, and ``label``; or ``labels`` for any number of classes (a list, or
            names with ``|`` between); or ``tokens`` (or ``text``) and ``tags``, one for each
            word. TSV is read without quoting.
        split: which split of a named data set.
        label_names: names of the classes in order, to which labels are matched. A
            label that is a number stands for the class of that position. None: the
            numbers, or the names in alphabetical order, become the classes.
        regression: labels are numbers to predict; None: if their column is named ``score`` or one
            has a decimal point, and no names are given.
        one_class: allow all labels to be the same, which is enough to score a model.

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
    found = _collect(list(rows), str(source), label_names, regression)
    if not one_class:
        _refuse_one_class(found, str(source))
    return found


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
    except (UnicodeDecodeError, json.JSONDecodeError, OSError, EOFError, csv.Error) as error:
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
    return iter(loaded), _feature_names(loaded.features)


def _feature_names(features: Mapping[str, Any]) -> Sequence[str] | None:
    """Class names that a data set declares for its labels or tags."""
    for column in (*LABEL_COLUMNS, SEVERAL_COLUMN, *TAG_COLUMNS):
        feature = features.get(column)
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names:
            return list(names)
    return None


def _collect(
    rows: list[Any], source: str, names: Sequence[str] | None, regression: bool | None
) -> LabelledTexts:
    if not rows:
        raise ConversionError(f"{source!r} has no rows; labelled texts are needed.")
    odd = next((row for row in rows if not isinstance(row, Mapping)), None)
    if odd is not None:
        raise ConversionError(f"{source!r}: each line should be a JSON object; got {odd!r}.")
    tags = next((c for c in TAG_COLUMNS if c in rows[0]), None)
    if tags is not None:
        return _tagged(rows, source, tags, names)
    first, second = _text_columns(rows[0], source)
    label = next((c for c in (*LABEL_COLUMNS, SEVERAL_COLUMN) if c in rows[0]), None)
    if label is None:
        raise ConversionError(
            f"{source!r} should have a column named label; it has {', '.join(rows[0])}."
        )
    _check_rows(rows, [first, label] + ([second] if second else []), source)
    texts = tuple(str(row[first]) for row in rows)
    pairs = tuple(str(row[second]) for row in rows) if second else None
    if label == SEVERAL_COLUMN:
        return _several(rows, source, names, texts, pairs)
    raw = [str(row[label]).strip() for row in rows]
    if regression is None:
        regression = names is None and (label == "score" or any("." in value for value in raw))
    if regression:
        return LabelledTexts(texts, pairs, tuple(parse.numbers(raw, source)), None)
    classes = parse.class_names(raw, names)
    ids = tuple(parse.class_ids(raw, classes, source))
    return LabelledTexts(texts, pairs, ids, classes)


def _several(
    rows: list[Row],
    source: str,
    names: Sequence[str] | None,
    texts: tuple[str, ...],
    pairs: tuple[str, ...] | None,
) -> LabelledTexts:
    raw = [parse.entries(row[SEVERAL_COLUMN], parse.SEPARATOR) for row in rows]
    classes = parse.class_names((label for entry in raw for label in entry), names)
    ids = tuple(tuple(parse.class_ids(entry, classes, source)) for entry in raw)
    return LabelledTexts(texts, pairs, ids, classes, "multi")


def _tagged(
    rows: list[Row], source: str, column: str, names: Sequence[str] | None
) -> LabelledTexts:
    where = next((c for c in WORD_COLUMNS if c in rows[0]), None)
    if where is None:
        raise ConversionError(
            f"{source!r} has a column {column} and should also have one named tokens or text; it "
            f"has {', '.join(rows[0])}."
        )
    _check_rows(rows, [where, column], source)
    words = [
        row[where].split() if isinstance(row[where], str) else [str(w) for w in row[where]]
        for row in rows
    ]
    raw = [parse.entries(row[column]) for row in rows]
    for number, (own, tags) in enumerate(zip(words, raw, strict=True), start=1):
        if len(own) != len(tags) or not own:
            raise ConversionError(
                f"{source!r}, row {number}: there should be one tag for each word; got "
                f"{len(own)} words and {len(tags)} tags."
            )
    classes = parse.class_names((tag for entry in raw for tag in entry), names)
    return LabelledTexts(
        texts=tuple(" ".join(entry) for entry in words),
        pairs=None,
        labels=tuple(tuple(parse.class_ids(entry, classes, source)) for entry in raw),
        label_names=classes,
        kind="tags",
        words=tuple(tuple(entry) for entry in words),
    )


def _check_rows(rows: list[Row], wanted: list[str], source: str) -> None:
    for number, row in enumerate(rows, start=1):
        if any(row.get(column) is None for column in wanted):
            raise ConversionError(
                f"{source!r}, row {number}: {', '.join(wanted)} should all be there; got {row!r}."
            )


def _refuse_one_class(found: LabelledTexts, source: str) -> None:
    names = found.label_names
    if names is None:
        parse.refuse_one_class(found.labels, source)
    elif found.kind == "classes":
        parse.refuse_one_class([names[i] for i in found.labels], source)
    else:
        parse.refuse_one_class([names[i] for entry in found.labels for i in entry] or [""], source)


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
