"""Read labelled texts from TSV, CSV, JSON-lines and Parquet files, or from named data sets.

Every file and every data set becomes a table first: nothing is dropped, every fault has a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thex_hf._choices import is_file_name
from thex_hf._paths import user_path
from thex_hf.conversion.data.collecting import KNOWN_COLUMNS, collect
from thex_hf.conversion.data.origin import Origin
from thex_hf.conversion.data.table import LabelledTexts as LabelledTexts
from thex_hf.tables.files import read_file
from thex_hf.tables.sets import local_folder, open_set, table_of


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
            ``.gz``, or in ``.parquet``; else a name for ``datasets.load_dataset``, such as
            ``"glue/sst2"``, or the folder of a data set.
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
        on_error: ``"skip"`` leaves out rows that cannot be read and those whose text is missing
            or empty, and says so in ``skipped``; ``"raise"`` refuses the data.

    Raises:
        ConversionError: missing file or column, no rows, class names that are not the given
            ones, or only one class.
        DataError: a row cannot be used; the message has its line in a file.
        OptionError: ``on_error`` is something else.
    """
    name = str(source)
    if is_file_name(name):
        path = user_path("data", source)
        table, origin = (
            read_file(path, KNOWN_COLUMNS, skip=on_error == "skip"),
            Origin.of_path(path),
        )
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
