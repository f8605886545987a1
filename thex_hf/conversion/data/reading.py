"""Read labelled texts from TSV, CSV and JSON-lines files, or from data sets of ``datasets``.

Every file and every data set becomes a table first: nothing is dropped, every fault has a place.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from transformers.utils import logging

from thex_hf._choices import TABLES, check_data_file, is_file_name
from thex_hf._extras import require
from thex_hf._paths import user_path
from thex_hf.conversion.data.collecting import KNOWN_COLUMNS, collect
from thex_hf.conversion.data.origin import WITH_PARTS, Origin
from thex_hf.conversion.data.table import LabelledTexts as LabelledTexts
from thex_hf.conversion.data.table import Place, Table, row_error
from thex_hf.errors import ConversionError, DataError

logger = logging.get_logger(__name__)
SEPARATORS = {".csv": ",", ".tsv": "\t"}
WORDS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
OTHER_FILES = (
    ".json", ".ndjson", ".parquet", ".arrow", ".feather", ".xlsx", ".xls", ".ods", ".txt", ".conll",
    ".pkl", ".zip", ".gz", ".bz2", ".xz", ".tar", ".csv", ".tsv", ".jsonl",
)  # fmt: skip


def read_texts(
    source: str | Path,
    *,
    split: str = "train",
    label_names: Sequence[str] | None = None,
    regression: bool | None = False,
    one_class: bool = False,
    labelled: bool = True,
    on_error: str = "raise",
) -> LabelledTexts:
    """Read a file, or a split of a data set by its Hub name or its folder.

    Args:
        source: a path ending in ``.tsv``, ``.csv`` or ``.jsonl``, perhaps followed by
            ``.gz``; else a name for ``datasets.load_dataset``, such as ``"glue/sst2"``, or the
            folder of a data set.
            Columns are ``text`` or ``sentence``, or a pair such as ``text_a`` and
            ``text_b``, and ``label``; or ``labels`` for any number of classes (a list, or
            names with ``|`` between); or ``tokens`` (or ``text``) and ``tags``, one for each
            word. TSV is read without quoting.
        split: which split of a named data set.
        label_names: names of the classes in order, to which labels are matched: all by name, or
            all as positions. A data set that names its classes is matched by name. None: the
            numbers, the data set's names, or the names in alphabetical order, become the classes.
        regression: labels are numbers to predict; None: if their column is named ``score`` or
            they are numbers with a fraction, and no names are known.
        one_class: allow all labels to be the same, which is enough to score a model.
        labelled: False: only the texts are wanted, and every label is 0.
        on_error: ``"skip"`` leaves out rows whose text is missing or empty, and says so in
            ``skipped``; ``"raise"`` refuses the data.

    Raises:
        ConversionError: missing file or column, no rows, class names that are not the given
            ones, or only one class.
        DataError: a row cannot be used; the message has its line in a file.
        OptionError: ``on_error`` is something else.
    """
    name = str(source)
    if is_file_name(name):
        path = user_path("data", source)
        table, origin = read_file(path), Origin.of_path(path)
    else:
        data, folder = open_set(name, split), local_folder(name)
        table = table_of(data, repr(name), KNOWN_COLUMNS)
        origin = Origin.of_hub(name, split, data) if folder is None else Origin.of_path(folder)
    texts = collect(
        table,
        label_names,
        regression,
        one_class=one_class,
        labelled=labelled,
        on_error=on_error,
    )
    return replace(texts, origin=origin)


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


def is_data_set(data: Any) -> bool:
    """Whether a value is a data set of ``datasets``."""
    return hasattr(data, "features") and hasattr(data, "column_names")


def local_folder(name: str) -> Path | None:
    """The folder that a name means; None if it means a data set on the Hub.

    Raises:
        ConversionError: a path of this machine that holds nothing to read.
    """
    if not name.strip():
        raise ConversionError("the name of the data is empty: give a file or the name of a set.")
    try:
        path = user_path("data", name)
    except RuntimeError:  # no such user
        path = Path(name)
    if path.is_dir():
        return path
    if path.is_file() or not _may_be_on_the_hub(name):
        there = "is a file" if path.is_file() else "is not there"
        raise ConversionError(
            f"{name!r} {there}: it is neither a file ending in {', '.join(TABLES)} (or .gz after "
            f"it), nor a folder with a data set, nor a name on the Hub such as glue/sst2. Check "
            f"the path."
        )
    return None


def open_set(name: str, split: str) -> Any:
    """A split of a data set.

    Args:
        name: of a folder, or on the Hub.
        split: which one.

    Raises:
        ConversionError: it cannot be loaded.
        BackendUnavailable: ``datasets`` is not installed.
    """
    folder = local_folder(name)
    datasets = require(
        "datasets", install="'thex_hf[datasets]'", purpose=f"reading the data set {name!r}"
    )
    owner, _, part = name.partition("/")
    try:
        if folder is not None and _was_saved(folder):
            saved = datasets.load_from_disk(str(folder))
            return saved[split] if isinstance(saved, Mapping) else saved
        arguments = [owner, part] if owner in WITH_PARTS and part else [name]
        return datasets.load_dataset(*(arguments if folder is None else [str(folder)]), split=split)
    except Exception as error:
        offline = " HF_HUB_OFFLINE is set: nothing is downloaded." * constants.HF_HUB_OFFLINE
        raise ConversionError(
            f"{name!r} is neither a file ending in {', '.join(TABLES)} (or .gz after it) nor "
            f"a data set with split {split!r} that could be loaded "
            f"({type(error).__name__}: {error}).{offline}"
        ) from error


def table_of(data: Any, source: str, columns: tuple[str, ...]) -> Table:
    """The table of a data set.

    Args:
        data: of ``datasets``.
        source: what to call it in a message.
        columns: those that may be wanted; others are not read.
    """
    features = data.features or {}
    plain = data.with_format(None)
    there = data.column_names or list(next(iter(plain), {}))  # not known of every stream
    wanted = [name for name in columns if name in there]
    rows = list(plain.select_columns(wanted) if wanted else plain)
    declared = {name: names for name in wanted if (names := declared_names(features.get(name)))}
    return Table(source, tuple(there), rows, [Place(i) for i in range(1, len(rows) + 1)], declared)


def declared_names(feature: Any) -> tuple[str, ...] | None:
    """Names of the classes in order that a column of classes, or of lists of them, declares."""
    if isinstance(feature, list) and feature:
        feature = feature[0]
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return tuple(map(str, names)) if names else None


def _may_be_on_the_hub(name: str) -> bool:
    return bool(HUB_NAME.fullmatch(name)) and not name.lower().endswith(OTHER_FILES)


def _was_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote a folder."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))
