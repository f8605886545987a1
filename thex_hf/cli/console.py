"""What a terminal can send and show."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from thex_hf.errors import InputError


def speak_plainly(*streams: Any) -> None:
    r"""Have streams write what they cannot show as ``\u...``, instead of failing after the work."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments with bytes that are no text.

    Raises:
        InputError: says which argument.
    """
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            shown = argument.encode("ascii", "backslashreplace").decode("ascii")
            raise InputError(
                f"argument {number} ({shown[:40]!r}) is not UTF-8; set LANG=C.UTF-8 if the "
                f"terminal is, or send the text to: thex-hf classify -"
            ) from None
