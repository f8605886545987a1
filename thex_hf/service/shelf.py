"""Where a server keeps clients' evaluation keys: whole files, found by the hash of their bytes.

A key file comes in pieces, can be resumed after a break, and counts only when all of it is there
and its SHA-256 is its name. Every entry has an owner; nobody else sees, uses or deletes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from thex_hf.errors import KeyStoreError, QuotaError, WireError

_NAME = re.compile(r"[0-9a-f]{64}")
PART, WHOLE, FACTS = ".part", ".keys", ".json"


@dataclass(frozen=True)
class Entry:
    """One key file.

    Args:
        name: SHA-256 of its bytes, 64 hex digits.
        owner: who sent it.
        size: bytes in all.
        received: bytes that are here.
        used: when it was last used, seconds since 1970.
    """

    name: str
    owner: str
    size: int
    received: int
    used: float

    @property
    def complete(self) -> bool:
        """Whether all of it is here and was verified."""
        return self.received == self.size


class Shelf(Protocol):
    """A place for key files. Another one can be a database or an object store."""

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """Announce a file; one that is here or begun already is taken up where it stands.

        Raises:
            WireError: no such name or size can be. QuotaError: no room for that owner.
            KeyStoreError: the place cannot be written.
        """
        ...

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """Add a piece at ``offset``, which is where the last one ended.

        The last piece makes the file whole; if its hash is not its name all of it is dropped.

        Raises:
            WireError: wrong offset, too many bytes, or another hash. KeyStoreError: as above.
        """
        ...

    def find(self, name: str, owner: str) -> Entry | None:
        """An owner's entry, None if there is none."""
        ...

    def read(self, name: str, owner: str) -> bytes:
        """A whole file; notes its use. Raises KeyStoreError if it is not there or not whole."""
        ...

    def delete(self, name: str, owner: str) -> bool:
        """Forget an owner's file; whether there was one."""
        ...

    def sweep(self) -> int:
        """Drop what has not been used for too long; how many files that were."""
        ...


@dataclass
class DiskShelf:
    """A folder: 0700, files 0600.

    Args:
        folder: made if it is not there.
        most_bytes: of all files.
        most_of_owner: bytes of one owner's files.
        most_of_file: bytes of one file.
        seconds: after which an unused file is dropped.
        clock: seconds since 1970.

    Raises:
        KeyStoreError: the folder cannot be made.
    """

    folder: Path
    most_bytes: int = 16 << 30
    most_of_owner: int = 2 << 30
    most_of_file: int = 1 << 30
    seconds: float = 30 * 86400.0
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        """Make the folder."""
        with _said("make the folder"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :class:`Shelf`."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise WireError("a key file is named by the SHA-256 of its bytes, 64 hex digits")
        if type(size) is not int or not 1 <= size <= self.most_of_file:
            raise WireError(f"a key file may have 1 to {self.most_of_file} bytes, got {size!r}")
        held = self.find(name, owner)
        if held is not None and held.size == size:
            return held
        if held is not None:
            self.delete(name, owner)
        self._require_room(owner, size)
        place = self._place(name, owner)
        with _said("begin a key file"):
            _write_whole(place.with_suffix(PART), b"")
            self._note(place, Entry(name, owner, size, 0, self.clock()))
        return Entry(name, owner, size, 0, self.clock())

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """See :class:`Shelf`."""
        held = self._held(name, owner)
        if held.complete:
            return held
        end = offset + len(data)
        if offset != held.received or end > held.size:
            raise WireError(
                f"expected a piece at {held.received} of {held.size}, got one from {offset} to "
                f"{end}"
            )
        place = self._place(name, owner)
        with _said("write a key file"):
            with place.with_suffix(PART).open("r+b") as file:
                file.seek(offset)
                file.write(data)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            if end == held.size:
                self._finish(place, name, owner)
        return Entry(name, owner, held.size, end, self.clock())

    def find(self, name: str, owner: str) -> Entry | None:
        """See :class:`Shelf`."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return None
        return self._entry(self._place(name, owner))

    def read(self, name: str, owner: str) -> bytes:
        """See :class:`Shelf`."""
        held = self._held(name, owner)
        if not held.complete:
            raise KeyStoreError(
                f"of key file {name} {held.received} of {held.size} bytes are here; send the rest"
            )
        place = self._place(name, owner)
        with _said("read a key file"):
            data = place.with_suffix(WHOLE).read_bytes()
            self._note(place, Entry(name, owner, held.size, held.size, self.clock()))
        return data

    def delete(self, name: str, owner: str) -> bool:
        """See :class:`Shelf`."""
        held = self.find(name, owner)
        if held is None:
            return False
        self._drop(self._place(name, owner))
        return True

    def sweep(self) -> int:
        """See :class:`Shelf`."""
        end = self.clock() - self.seconds
        old = [place for place, entry in self._entries() if entry.used < end]
        for place in old:
            self._drop(place)
        return len(old)

    def _place(self, name: str, owner: str) -> Path:
        """A path without a suffix: owners cannot reach each other's files, nor learn of them."""
        own = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return self.folder / f"{own}-{name}"

    def _held(self, name: str, owner: str) -> Entry:
        held = self.find(name, owner)
        if held is None:
            raise KeyStoreError(f"there is no key file {name} of yours; begin one first")
        return held

    def _entry(self, place: Path) -> Entry | None:
        try:
            facts = json.loads(place.with_suffix(FACTS).read_text(encoding="utf-8"))
            whole, part = place.with_suffix(WHOLE), place.with_suffix(PART)
            received = (whole if whole.exists() else part).stat().st_size
            return Entry(**{**facts, "received": received})
        except (OSError, ValueError, TypeError):
            return None

    def _entries(self) -> Iterator[tuple[Path, Entry]]:
        for path in sorted(self.folder.glob(f"*{FACTS}")):
            place = path.with_suffix("")
            entry = self._entry(place)
            if entry is not None:
                yield place, entry

    def _require_room(self, owner: str, size: int) -> None:
        every = [entry for _, entry in self._entries()]
        own = sum(entry.size for entry in every if entry.owner == owner)
        total = sum(entry.size for entry in every)
        if own + size > self.most_of_owner or total + size > self.most_bytes:
            raise QuotaError(
                f"no room for {size} bytes of keys: {own} of your {self.most_of_owner} bytes and "
                f"{total} of {self.most_bytes} in all are taken; delete keys, or come back later"
            )

    def _finish(self, place: Path, name: str, owner: str) -> None:
        part = place.with_suffix(PART)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != name:
            self._drop(place)
            raise WireError(
                f"the bytes hash to {found} and should hash to {name}; they were altered on the "
                f"way: send them again"
            )
        part.rename(place.with_suffix(WHOLE))

    def _note(self, place: Path, entry: Entry) -> None:
        facts = {key: value for key, value in asdict(entry).items() if key != "received"}
        _write_whole(place.with_suffix(FACTS), json.dumps(facts).encode())

    def _drop(self, place: Path) -> None:
        for suffix in (FACTS, PART, WHOLE):
            with contextlib.suppress(OSError):
                place.with_suffix(suffix).unlink()


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyStoreError(f"cannot {what}: {error.strerror or error}; try again later") from error


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file for its owner's eyes, whole or not at all."""
    temporary = path.with_name(path.name + f".{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
