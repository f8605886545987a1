"""Data sets of ``datasets``: found by name or folder, and read as a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from thex_hf._choices import TABLE_NAMES
from thex_hf._extras import require
from thex_hf._paths import user_path
from thex_hf.errors import ConversionError
from thex_hf.tables.table import Place, Table

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
OTHER_FILES = (
    ".json", ".ndjson", ".parquet", ".arrow", ".feather", ".xlsx", ".xls", ".ods", ".txt", ".conll",
    ".pkl", ".zip", ".gz", ".bz2", ".xz", ".tar", ".csv", ".tsv", ".jsonl",
)  # fmt: skip
WITH_PARTS = ("glue", "super_glue")
"""Data sets whose parts are named after a slash: ``glue/sst2``."""


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
            f"{name!r} {there}: it is neither a file ending in {TABLE_NAMES}, nor a folder with a "
            f"data set, nor a name on the Hub such as glue/sst2. Check the path."
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
            f"{name!r} is neither a file ending in {TABLE_NAMES} nor a data set with split "
            f"{split!r} that could be loaded ({type(error).__name__}: {error}).{offline}"
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
