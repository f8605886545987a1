"""Files of a folder that several processes write: whole or not at all, for their owner's eyes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from thex_hf.errors import KeyStoreError, ThexError

LOCK_SECONDS = 60.0
POLL_SECONDS = 0.005


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock against threads and other processes.

    Raises:
        KeyStoreError: somebody else holds it for a minute.
    """
    try:
        with FileLock(path, timeout=LOCK_SECONDS, mode=0o600, poll_interval=POLL_SECONDS):
            yield
    except TimeoutError as error:
        raise KeyStoreError(f"the keys' folder is locked: {error}; try again later") from error


@contextlib.contextmanager
def said(what: str) -> Iterator[None]:
    """Say what could not be done.

    Raises:
        KeyStoreError: for any error of the system.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ThexError):  # some of ours are errors of the system too
            raise
        raise KeyStoreError(f"cannot {what}: {error.strerror or error}; try again later") from error


def append(path: Path, offset: int, data: bytes) -> None:
    """Write a piece; on failure the file ends where it did."""
    with path.open("r+b") as file:
        try:
            file.seek(offset)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), offset)
            raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    temporary = path.with_name(path.name + f".{os.getpid()}.{threading.get_ident()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
