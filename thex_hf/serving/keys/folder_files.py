"""Files that several processes write, whole or not at all; and what a folder holds in all."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
def storage_errors(what: str) -> Iterator[None]:
    """Turn errors of the system into ones that say what could not be done.

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


TOTALS_FILE = "totals"


@dataclass
class Totals:
    """Files and bytes of each owner, and the repository's clock.

    Args:
        clock: the repository's own seconds; begins at some time since 1970, and stops with the
            servers.
        swept: when it was last moved on, by the wall clock.
        owners: files and bytes by owner, hashed.
    """

    clock: float
    swept: float
    owners: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, size in self.owners.values())

    def of(self, owner: str) -> tuple[int, int]:
        """Files and bytes of one owner."""
        return self.owners.get(owner, (0, 0))

    def add(self, owner: str, files: int, size: int) -> None:
        """Count files, or with numbers below zero no longer count them."""
        old_files, old_size = self.of(owner)
        self.owners[owner] = (max(0, old_files + files), max(0, old_size + size))
        if self.owners[owner] == (0, 0):
            del self.owners[owner]

    def count(self, entries: Iterable[tuple[str, int]]) -> None:
        """Count everything anew, of owners and sizes."""
        self.owners.clear()
        for owner, size in entries:
            self.add(owner, 1, size)

    def to_bytes(self) -> bytes:
        """The file."""
        return json.dumps(vars(self)).encode()

    @classmethod
    def read(cls, folder: Path) -> Totals | None:
        """What the file of a folder says; None if it says nothing.

        Raises:
            OSError: it is there and cannot be read.
        """
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            facts: dict[str, Any] = json.loads((folder / TOTALS_FILE).read_bytes())
            owners = {str(name): (int(a), int(b)) for name, (a, b) in facts["owners"].items()}
            return cls(float(facts["clock"]), float(facts["swept"]), owners)
        return None
