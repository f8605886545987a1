"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path

from thex_hf.errors import OptionError


def user_path(name: str, value: str | os.PathLike[str]) -> Path:
    """The path that is meant: ``~`` is the home directory, also where no shell has seen it.

    Args:
        name: of the option, for errors.
        value: as given.

    Raises:
        OptionError: it is empty, or begins with ``~`` and nobody has such a home.
    """
    if not isinstance(value, str | os.PathLike):
        raise OptionError(f"{name} should be a path, got {value!r}")
    if not os.fspath(value):
        raise OptionError(f"{name} is empty; name a path, or leave it out")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise OptionError(f"{name}: {os.fspath(value)!r} names no home directory") from error
