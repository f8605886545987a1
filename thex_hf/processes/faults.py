"""Errors of a child as messages: the errors of this package come back as what they were."""

from __future__ import annotations

import signal
import traceback
from typing import Any

from thex_hf import errors
from thex_hf.errors import ChildError, ThexError


def to_message(error: Exception) -> list[str]:
    """What a child sends of an error: its kind, its text and where it came from."""
    return [type(error).__name__, str(error), "".join(traceback.format_exception(error))]


def from_message(message: list[Any], where: str = "") -> ThexError:
    """The error to raise for one that a child sent.

    Args:
        message: from :func:`to_message`.
        where: goes before the text, for example ``"text 3: "``.

    Returns:
        An error of the same class when it is one of :mod:`thex_hf.errors`, otherwise a
        :class:`ChildError` that names the class. The child's traceback is a note on it.
    """
    kind, text, trace = message
    found = getattr(errors, kind, None)
    if not (isinstance(found, type) and issubclass(found, ThexError)):
        found, text = ChildError, f"a child process raised {kind}: {text}"
    error = found(where + text)
    error.add_note(f"In a child process:\n{trace}")
    return error


def ending(status: int) -> str:
    """How a child ended, in words, from what ``waitpid`` says of it."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        name = f" ({signal.Signals(-status).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {-status}{name}"
