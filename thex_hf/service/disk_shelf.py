"""Clients' evaluation keys in a folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from thex_hf.errors import KeyMismatch, KeyStoreError
from thex_hf.service.shelf import DEFAULT, NAME, Entry, Limits, wrong_hash, wrong_piece

PART, WHOLE, FACTS, LOCK = ".part", ".keys", ".json", ".lock"
LOCK_SECONDS = 60.0


@dataclass
class DiskShelf:
    """A folder: 0700, files 0600. Several processes may use it at once.

    Args:
        folder: made if it is not there.
        limits: of what it takes.
        clock: seconds since 1970.

    Raises:
        KeyStoreError: the folder cannot be made.
    """

    folder: Path
    limits: Limits = DEFAULT
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        """Make the folder."""
        with _said("make the folder"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        self.limits.check(name, size)
        with self._alone():
            held = self.find(name, owner)
            if held is not None and held.size == size:
                return held
            if held is not None:
                self.delete(name, owner)
            every = [entry for _, entry in self._entries()]
            own = sum(entry.size for entry in every if entry.owner == owner)
            self.limits.check_room(size, own, sum(entry.size for entry in every))
            place, fresh = self._place(name, owner), Entry(name, owner, size, 0, self.clock())
            with _said("begin a key file"):
                _write_whole(place.with_suffix(PART), b"")
                self._note(place, fresh)
            return fresh

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        with self._alone():
            held = self._held(name, owner)
            if held.complete:
                return held
            end = offset + len(data)
            if offset != held.received or end > held.size:
                raise wrong_piece(held, offset, end)
            place = self._place(name, owner)
            with _said("write a key file"):
                _append(place.with_suffix(PART), offset, data)
                if end == held.size:
                    self._finish(place, name)
            return Entry(name, owner, held.size, end, self.clock())

    def find(self, name: str, owner: str) -> Entry | None:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return None
        return self._entry(self._place(name, owner))

    def read(self, name: str, owner: str) -> bytes:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        held = self._held(name, owner)
        if not held.complete:
            raise KeyMismatch(
                f"of key file {name} {held.received} of {held.size} bytes are here; send the rest"
            )
        place = self._place(name, owner)
        with _said("read a key file"):
            data = place.with_suffix(WHOLE).read_bytes()
            self._note(place, Entry(name, owner, held.size, held.size, self.clock()))
        return data

    def delete(self, name: str, owner: str) -> bool:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        held = self.find(name, owner)
        if held is None:
            return False
        self._drop(self._place(name, owner))
        return True

    def sweep(self) -> int:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        end = self.clock() - self.limits.seconds
        old = [place for place, entry in self._entries() if entry.used < end]
        for place in old:
            self._drop(place)
        return len(old)

    def taken(self) -> int:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        return sum(entry.size for _, entry in self._entries())

    def _place(self, name: str, owner: str) -> Path:
        """A path without a suffix: owners cannot reach each other's files, nor learn of them."""
        own = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return self.folder / f"{own}-{name}"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, against threads and other processes."""
        try:
            with FileLock(self.folder / LOCK, timeout=LOCK_SECONDS, mode=0o600):
                yield
        except TimeoutError as error:
            raise KeyStoreError(f"the keys' folder is locked: {error}; try again later") from error

    def _held(self, name: str, owner: str) -> Entry:
        held = self.find(name, owner)
        if held is None:
            raise KeyMismatch(f"there is no key file {name} of yours here; send it first")
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

    def _finish(self, place: Path, name: str) -> None:
        part = place.with_suffix(PART)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != name:
            self._drop(place)
            raise wrong_hash(name, found)
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
        if isinstance(error, KeyStoreError):
            raise
        raise KeyStoreError(f"cannot {what}: {error.strerror or error}; try again later") from error


def _append(path: Path, offset: int, data: bytes) -> None:
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


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file for its owner's eyes, whole or not at all."""
    temporary = path.with_name(path.name + f".{os.getpid()}.{threading.get_ident()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
