"""What options offer, and the refusal of anything else, without loading a library.

The command line checks its arguments with this before it imports torch; what it calls checks them
again, in the same words.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from thex_hf.errors import ConversionError, OptionError
from thex_hf.tasks import SOURCES

REMOTE = "remote"
"""The backend that is a server elsewhere."""
FHE_MODES = ("execute", "simulate", "disable")
ON_ERROR = ("raise", "skip")
POOLS = ("mean", "max")
"""How the logits of a text's windows become the text's."""
CONVERTED_FORMS = ("the-x", "polynomial", "normalised")
RECIPES = ("full", "as-published")
POWERS = (2, 4, 6)
"""Exponents that power attention may have; even, so that no weight is negative."""
POLYNOMIAL_NORMS = ("affine", "centred")
NORM_DEGREES = (0, 1, 2, 4, 8)
"""Degrees of the polynomial by which a norm divides by the deviation; 0: it does not."""
POOLINGS = ("cls", "mean")
TABLES = (".tsv", ".csv", ".jsonl")
"""Endings of tables in files; ``.gz`` may follow."""
PARQUET = ".parquet"
LINES = ".txt"
"""Ending of files with a text a line; ``.gz`` may follow."""
TABLE_NAMES = f"{', '.join(TABLES)} (or .gz after it) or {PARQUET}"
"""Endings of tables, in a sentence."""


def one_of(name: str, value: Any, offered: Iterable[str]) -> str:
    """Return ``value`` if it is on offer.

    Raises:
        OptionError: it is not; names the nearest one.
    """
    choices = list(offered)
    if isinstance(value, str) and value in choices:
        return value
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"{name} must be one of {', '.join(choices)}, got {value!r}{hint}")


def check_on_error(on_error: str) -> str:
    """Return ``on_error`` if it is on offer.

    Raises:
        OptionError: it is not.
    """
    if on_error not in ON_ERROR:
        raise OptionError(f"on_error must be one of {', '.join(ON_ERROR)}, got {on_error!r}")
    return on_error


def check_conversion(name: str, value: Any, offered: Sequence[Any], where: str = "") -> None:
    """Refuse a setting of a conversion that is not on offer.

    Raises:
        OptionError: it is not; ``where`` says for which conversions that holds.
    """
    if value not in offered:
        choices = ", ".join(map(str, offered))
        raise OptionError(f"{name} should be one of {choices}{where}; got {value!r}.")


def check_source(task: str | None, pooling: str | None) -> None:
    """Refuse what a source model cannot be told to do; None leaves it to the source.

    Raises:
        ConversionError: a task or a pooling that is not on offer.
    """
    for name, value, offered in (("task", task, tuple(SOURCES)), ("pooling", pooling, POOLINGS)):
        if value is not None and value not in offered:
            raise ConversionError(f"{name} should be {' or '.join(offered)}; got {value!r}.")


def is_file_name(name: str) -> bool:
    """Whether a name ends as those of tables."""
    plain = name.lower()
    return plain.removesuffix(".gz").endswith(TABLES) or plain.endswith(PARQUET)


def is_lines_name(name: str) -> bool:
    """Whether a name ends as those of files with a text a line."""
    return name.lower().removesuffix(".gz").endswith(LINES)


def check_data_file(path: Path) -> None:
    """Refuse the path of a data file that is not there.

    Raises:
        ConversionError: no such file.
    """
    if not path.is_file():
        raise ConversionError(f"no data file at {str(path)!r}: check the path.")
