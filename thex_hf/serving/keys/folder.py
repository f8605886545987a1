"""Clients' evaluation keys in a folder: files that several processes write, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from thex_hf.errors import KeyStoreError, ThexError
from thex_hf.serving.keys.repository import (
    DEFAULT,
    SHA256_HEX,
    Entry,
    Limits,
    UptimeClock,
    damaged_error,
    hash_error,
    missing_error,
    piece_error,
    unfinished_error,
)

PART, WHOLE, FACTS, LOCK = ".part", ".keys", ".json", ".lock"
LOCK_SECONDS = 60.0
POLL_SECONDS = 0.005
TOTALS_FILE = "totals"


@dataclass
class KeyFolder:
    """A folder: 0700, files 0600. Several processes may use it at once.

    One owner's files are changed under that owner's lock, which nobody else waits for. What all
    files take together is kept under a lock of the folder, entry for one small file's time only.

    Args:
        folder: made if it is not there.
        limits: of what it takes.
        clock: how time passes.

    Raises:
        KeyStoreError: the folder cannot be made.
    """

    folder: Path
    limits: Limits = DEFAULT
    clock: UptimeClock = field(default_factory=UptimeClock)

    def __post_init__(self) -> None:
        """Make the folder."""
        with storage_errors("make the folder"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        self.limits.check(name, size)
        path = self._path(name, owner)
        with self._owner_lock(path), storage_errors("begin a key file"):
            entry = self._read_entry(path)
            if entry is not None and entry.size == size:
                if entry.complete or entry.received < size:
                    return entry
                if self._verify(path) == name:
                    return self._read_entry(path) or entry
            self._remove(path, entry)
            with self._totals() as totals:
                files, owned = totals.of(_owner_hash(path))
                self.limits.check_room(size, owned, totals.size, files)
                totals.add(_owner_hash(path), 1, size)
                fresh = Entry(name, owner, size, 0, totals.clock)
            try:
                write_whole(path.with_suffix(PART), b"")
                self._write_entry(path, fresh)
            except OSError:
                self._remove(path, fresh)
                raise
            return fresh

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        path = self._path(name, owner)
        with self._owner_lock(path):
            entry = self._existing(name, owner)
            if entry.complete:
                return entry
            end = offset + len(data)
            if offset != entry.received or end > entry.size:
                raise piece_error(entry, offset, end)
            with storage_errors("write a key file"):
                append(path.with_suffix(PART), offset, data)
                if end == entry.size and (digest := self._verify(path)) != name:
                    self._remove(path, entry)
                    raise hash_error(name, digest)
            return Entry(name, owner, entry.size, end, entry.used, complete=end == entry.size)

    def find(self, name: str, owner: str) -> Entry | None:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        if not isinstance(name, str) or not SHA256_HEX.fullmatch(name):
            return None
        return self._read_entry(self._path(name, owner))

    def read(self, name: str, owner: str) -> bytes:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        entry, path = self._existing(name, owner), self._path(name, owner)
        if not entry.complete:
            raise unfinished_error(entry)
        with storage_errors("read a key file"):
            try:
                data = path.with_suffix(WHOLE).read_bytes()
            except FileNotFoundError:  # deleted meanwhile
                raise missing_error(name) from None
            if hashlib.sha256(data).hexdigest() != name:
                self.delete(name, owner)
                raise damaged_error(name)
            totals = Totals.read(self.folder)
            used = entry.used if totals is None else totals.clock
            self._write_entry(path, Entry(name, owner, entry.size, entry.size, used))
        return data

    def delete(self, name: str, owner: str) -> bool:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        if self.find(name, owner) is None:
            return False
        path = self._path(name, owner)
        with self._owner_lock(path), storage_errors("delete a key file"):
            entry = self._read_entry(path)
            self._remove(path, entry)
        return entry is not None

    def sweep(self) -> int:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`; also counts all anew."""
        dropped = 0
        with storage_errors("sweep the folder of keys"):
            with self._totals() as totals:
                totals.clock += self.clock.elapsed(totals.swept)
                totals.swept = self.clock.wall()
                end = totals.clock - self.limits.seconds
            for path in self._paths():
                entry = self._read_entry(path)
                if entry is not None and entry.used >= end:
                    continue
                with self._owner_lock(path):
                    entry = self._read_entry(path)
                    if entry is None or entry.used < end:  # None: what a crash has left
                        self._remove(path, entry)
                        dropped += entry is not None
            with self._totals() as totals:
                totals.count(self._sizes())
        return dropped

    def total_bytes(self) -> int:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        with storage_errors("read the folder of keys"):
            totals = Totals.read(self.folder)
        return sum(size for _, size in self._sizes()) if totals is None else totals.size

    def _path(self, name: str, owner: str) -> Path:
        """A path without a suffix: owners cannot reach each other's files, nor learn of them."""
        owner_hash = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return self.folder / f"{owner_hash}-{name}"

    def _paths(self) -> list[Path]:
        """Of all files, also of those that a crash has left half."""
        kinds = (FACTS, PART, WHOLE)
        files = (path for path in self.folder.glob("*-*") if path.suffix in kinds)
        return sorted({path.with_suffix("") for path in files})

    def _owner_lock(self, path: Path) -> AbstractContextManager[None]:
        """Hold the lock of a file's owner."""
        return locked(self.folder / f"{_owner_hash(path)}{LOCK}")

    @contextmanager
    def _totals(self) -> Iterator[Totals]:
        """What all files take, to change; counted if that is not known."""
        with locked(self.folder / LOCK):
            totals = Totals.read(self.folder)
            if totals is None:
                entries = [entry for path in self._paths() if (entry := self._read_entry(path))]
                now = max((entry.used for entry in entries), default=self.clock.wall())
                totals = Totals(now, self.clock.wall())
                totals.count(self._sizes())
            yield totals
            write_whole(self.folder / TOTALS_FILE, totals.to_bytes())

    def _sizes(self) -> Iterator[tuple[str, int]]:
        for path in self._paths():
            entry = self._read_entry(path)
            if entry is not None:
                yield _owner_hash(path), entry.size

    def _existing(self, name: str, owner: str) -> Entry:
        entry = self.find(name, owner)
        if entry is None:
            raise missing_error(name)
        return entry

    def _read_entry(self, path: Path) -> Entry | None:
        try:
            facts = json.loads(path.with_suffix(FACTS).read_text(encoding="utf-8"))
            whole = path.with_suffix(WHOLE).exists()
            received = path.with_suffix(WHOLE if whole else PART).stat().st_size
            entry = Entry(**{**facts, "received": received, "complete": whole})
            return entry if received <= entry.size else None
        except (OSError, ValueError, TypeError):
            return None

    def _verify(self, path: Path) -> str:
        """The hash of a file whose last byte has come, which counts as whole if it is its name."""
        part = path.with_suffix(PART)
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if path.name.endswith(f"-{digest}"):
            part.rename(path.with_suffix(WHOLE))
        return digest

    def _write_entry(self, path: Path, entry: Entry) -> None:
        facts = {"name": entry.name, "owner": entry.owner, "size": entry.size, "used": entry.used}
        write_whole(path.with_suffix(FACTS), json.dumps(facts).encode())

    def _remove(self, path: Path, entry: Entry | None) -> None:
        """Remove what there is of a file; ``entry`` is what the totals know of it."""
        for suffix in (FACTS, PART, WHOLE):
            with suppress(OSError):
                path.with_suffix(suffix).unlink()
        if entry is not None:
            with self._totals() as totals:
                totals.add(_owner_hash(path), -1, -entry.size)


def _owner_hash(path: Path) -> str:
    """The hashed owner of a file."""
    return path.name.partition("-")[0]


@contextmanager
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


@contextmanager
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
            with suppress(OSError):
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
