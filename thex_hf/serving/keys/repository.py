"""Where a server keeps clients' evaluation keys: whole files, found by the hash of their bytes.

A key file comes in pieces, can be resumed after a break, and counts only when all of it is there
and its SHA-256 is its name. Every entry has an owner; nobody else sees, uses or deletes it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from thex_hf.errors import KeyMismatch, QuotaError, WireError

SHA256_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One key file.

    Args:
        name: SHA-256 of its bytes, 64 hex digits.
        owner: who sent it.
        size: bytes in all.
        received: bytes that are here.
        used: when it was last used, by the repository's own clock.
        complete: whether all of it is here and was verified.
    """

    name: str
    owner: str
    size: int
    received: int
    used: float
    complete: bool = False


@dataclass(frozen=True)
class Limits:
    """Bounds of a repository.

    Args:
        total: bytes of all files.
        owner: bytes of one owner's files.
        file: bytes of one file.
        files: of one owner.
        seconds: after which an unused file is dropped, of those that servers were up.
    """

    total: int = 16 << 30
    owner: int = 2 << 30
    file: int = 1 << 30
    files: int = 256
    seconds: float = 30 * 86400.0

    def check(self, name: object, size: object) -> None:
        """Refuse what cannot name or be a key file.

        Raises:
            WireError: says what was expected.
        """
        if not isinstance(name, str) or not SHA256_HEX.fullmatch(name):
            raise WireError("a key file is named by the SHA-256 of its bytes, 64 hex digits")
        if type(size) is not int or not 1 <= size <= self.file:
            raise WireError(f"a key file may have 1 to {self.file} bytes, got {size!r}")

    def check_room(self, size: int, owned: int, taken: int, files: int = 0) -> None:
        """Refuse ``size`` bytes more, in one file.

        Args:
            size: of the file.
            owned: bytes that the owner has here.
            taken: bytes that all have here.
            files: that the owner has here.

        Raises:
            QuotaError: says how much is taken.
        """
        if files >= self.files:
            raise QuotaError(f"you have {files} key files here, which are the most; delete some")
        if owned + size > self.owner or taken + size > self.total:
            raise QuotaError(
                f"no room for {size} bytes of keys: {owned} of your {self.owner} bytes and "
                f"{taken} of {self.total} in all are taken; delete keys, or come back later"
            )


DEFAULT = Limits()


class KeyRepository(Protocol):
    """A place for key files: a folder, a database."""

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """Announce a file; one that is here or begun already is taken up where it stands.

        One that was whole when the server stopped, and not yet verified, is verified now.

        Raises:
            WireError: no such name or size can be. QuotaError: no room for that owner.
            KeyStoreError: the place cannot be written.
        """
        ...

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """Add a piece at ``offset``, which is where the last one ended.

        The last piece makes the file whole; if its hash is not its name all of it is dropped.

        Raises:
            WireError: wrong offset, too many bytes, or another hash. KeyMismatch: nothing begun.
            KeyStoreError: as above.
        """
        ...

    def find(self, name: str, owner: str) -> Entry | None:
        """An owner's entry, None if there is none."""
        ...

    def read(self, name: str, owner: str) -> bytes:
        """A whole file, verified again; notes its use.

        Raises:
            KeyMismatch: it is not there, not whole, or was damaged, and then it is dropped.
            KeyStoreError: the place cannot be read.
        """
        ...

    def delete(self, name: str, owner: str) -> bool:
        """Forget an owner's file; whether there was one."""
        ...

    def sweep(self) -> int:
        """Drop what has not been used for too long; how many files that were."""
        ...

    def total_bytes(self) -> int:
        """Bytes of all files."""
        ...


def piece_error(entry: Entry, offset: int, end: int) -> WireError:
    """The error for a piece that does not go on where the last one ended."""
    return WireError(
        f"expected a piece at {entry.received} of {entry.size}, got one from {offset} to {end}"
    )


def hash_error(name: str, digest: str) -> WireError:
    """The error for a file that is not what its name says."""
    return WireError(
        f"the bytes hash to {digest} and should hash to {name}; they were altered on the way: send "
        f"them again"
    )


def damaged_error(name: str) -> KeyMismatch:
    """The error for a file that is no longer what its name says."""
    return KeyMismatch(f"key file {name} was damaged on the server and is dropped; send it again")


def missing_error(name: str) -> KeyMismatch:
    """The error for a file that is not there."""
    return KeyMismatch(f"there is no key file {name} of yours here; send it first")


def unfinished_error(entry: Entry) -> KeyMismatch:
    """The error for a file that is not whole."""
    return KeyMismatch(
        f"of key file {entry.name} {entry.received} of {entry.size} bytes are here; send the rest"
    )


@dataclass
class UptimeClock:
    """Counts the seconds that servers have lived through, for a repository that they share.

    A wall clock that jumps forth would make all keys old at once; one that jumps back would keep
    them for ever. So a repository has a clock of its own, which a server moves on at each sweep: by
    the seconds that passed for that server, which no jump changes, and not by those that another
    server has counted already.

    Args:
        wall: seconds since 1970, which all servers of a repository have about in common.
        steady: seconds that never go back, this process's own.
    """

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    _last: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin to count."""
        self._last = self.steady()

    def elapsed(self, swept: float) -> float:
        """Seconds to move the repository's clock on by.

        Args:
            swept: when the last server did so, by the wall clock.
        """
        now = self.steady()
        passed, self._last = now - self._last, now
        return max(0.0, min(passed, self.wall() - swept))
