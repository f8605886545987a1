"""Clients' evaluation keys in a folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from thex_hf.serving.keys.folder_files import FILE, Totals, append, locked, said, write_whole
from thex_hf.serving.keys.repository import (
    DEFAULT,
    NAME,
    Ages,
    Entry,
    Limits,
    damaged,
    missing,
    unfinished,
    wrong_hash,
    wrong_piece,
)

PART, WHOLE, FACTS, LOCK = ".part", ".keys", ".json", ".lock"


@dataclass
class DiskShelf:
    """A folder: 0700, files 0600. Several processes may use it at once.

    One owner's files are changed under that owner's lock, which nobody else waits for. What all
    files take together is kept under a lock of the folder, held for one small file's time only.

    Args:
        folder: made if it is not there.
        limits: of what it takes.
        ages: how time passes.

    Raises:
        KeyStoreError: the folder cannot be made.
    """

    folder: Path
    limits: Limits = DEFAULT
    ages: Ages = field(default_factory=Ages)

    def __post_init__(self) -> None:
        """Make the folder."""
        with said("make the folder"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        self.limits.check(name, size)
        place = self._place(name, owner)
        with self._alone(place), said("begin a key file"):
            held = self._entry(place)
            if held is not None and held.size == size:
                if held.complete or held.received < size:
                    return held
                if self._verify(place) == name:
                    return self._entry(place) or held
            self._drop(place, held)
            with self._totals() as totals:
                files, own = totals.of(_owner(place))
                self.limits.check_room(size, own, totals.size, files)
                totals.add(_owner(place), 1, size)
                fresh = Entry(name, owner, size, 0, totals.clock)
            try:
                write_whole(place.with_suffix(PART), b"")
                self._note(place, fresh)
            except OSError:
                self._drop(place, fresh)
                raise
            return fresh

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        place = self._place(name, owner)
        with self._alone(place):
            held = self._held(name, owner)
            if held.complete:
                return held
            end = offset + len(data)
            if offset != held.received or end > held.size:
                raise wrong_piece(held, offset, end)
            with said("write a key file"):
                append(place.with_suffix(PART), offset, data)
                if end == held.size and (found := self._verify(place)) != name:
                    self._drop(place, held)
                    raise wrong_hash(name, found)
            return Entry(name, owner, held.size, end, held.used, complete=end == held.size)

    def find(self, name: str, owner: str) -> Entry | None:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return None
        return self._entry(self._place(name, owner))

    def read(self, name: str, owner: str) -> bytes:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        held, place = self._held(name, owner), self._place(name, owner)
        if not held.complete:
            raise unfinished(held)
        with said("read a key file"):
            try:
                data = place.with_suffix(WHOLE).read_bytes()
            except FileNotFoundError:  # deleted meanwhile
                raise missing(name) from None
            if hashlib.sha256(data).hexdigest() != name:
                self.delete(name, owner)
                raise damaged(name)
            totals = Totals.read(self.folder)
            used = held.used if totals is None else totals.clock
            self._note(place, Entry(name, owner, held.size, held.size, used))
        return data

    def delete(self, name: str, owner: str) -> bool:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        if self.find(name, owner) is None:
            return False
        place = self._place(name, owner)
        with self._alone(place), said("delete a key file"):
            held = self._entry(place)
            self._drop(place, held)
        return held is not None

    def sweep(self) -> int:
        """See :class:`thex_hf.serving.keys.repository.Shelf`. Also counts all files anew."""
        dropped = 0
        with said("sweep the folder of keys"):
            with self._totals() as totals:
                totals.clock += self.ages.passed(totals.swept)
                totals.swept = self.ages.wall()
                end = totals.clock - self.limits.seconds
            for place in self._places():
                entry = self._entry(place)
                if entry is not None and entry.used >= end:
                    continue
                with self._alone(place):
                    entry = self._entry(place)
                    if entry is None or entry.used < end:  # None: what a crash has left
                        self._drop(place, entry)
                        dropped += entry is not None
            with self._totals() as totals:
                totals.count(self._sizes())
        return dropped

    def taken(self) -> int:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        with said("read the folder of keys"):
            totals = Totals.read(self.folder)
        return sum(size for _, size in self._sizes()) if totals is None else totals.size

    def _place(self, name: str, owner: str) -> Path:
        """A path without a suffix: owners cannot reach each other's files, nor learn of them."""
        own = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return self.folder / f"{own}-{name}"

    def _places(self) -> list[Path]:
        """Of all files, also of those that a crash has left half."""
        kinds = (FACTS, PART, WHOLE)
        found = (path for path in self.folder.glob("*-*") if path.suffix in kinds)
        return sorted({path.with_suffix("") for path in found})

    def _alone(self, place: Path) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of a file's owner."""
        return locked(self.folder / f"{_owner(place)}{LOCK}")

    @contextlib.contextmanager
    def _totals(self) -> Iterator[Totals]:
        """What all files take, to change; counted if that is not known."""
        with locked(self.folder / LOCK):
            totals = Totals.read(self.folder)
            if totals is None:
                entries = [entry for place in self._places() if (entry := self._entry(place))]
                now = max((entry.used for entry in entries), default=self.ages.wall())
                totals = Totals(now, self.ages.wall())
                totals.count(self._sizes())
            yield totals
            write_whole(self.folder / FILE, totals.to_bytes())

    def _sizes(self) -> Iterator[tuple[str, int]]:
        for place in self._places():
            entry = self._entry(place)
            if entry is not None:
                yield _owner(place), entry.size

    def _held(self, name: str, owner: str) -> Entry:
        held = self.find(name, owner)
        if held is None:
            raise missing(name)
        return held

    def _entry(self, place: Path) -> Entry | None:
        try:
            facts = json.loads(place.with_suffix(FACTS).read_text(encoding="utf-8"))
            whole = place.with_suffix(WHOLE).exists()
            received = place.with_suffix(WHOLE if whole else PART).stat().st_size
            entry = Entry(**{**facts, "received": received, "complete": whole})
            return entry if received <= entry.size else None
        except (OSError, ValueError, TypeError):
            return None

    def _verify(self, place: Path) -> str:
        """The hash of a file whose last byte has come, which counts as whole if it is its name."""
        part = place.with_suffix(PART)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if place.name.endswith(f"-{found}"):
            part.rename(place.with_suffix(WHOLE))
        return found

    def _note(self, place: Path, entry: Entry) -> None:
        facts = {"name": entry.name, "owner": entry.owner, "size": entry.size, "used": entry.used}
        write_whole(place.with_suffix(FACTS), json.dumps(facts).encode())

    def _drop(self, place: Path, entry: Entry | None) -> None:
        """Remove what there is of a file; ``entry`` is what the totals know of it."""
        for suffix in (FACTS, PART, WHOLE):
            with contextlib.suppress(OSError):
                place.with_suffix(suffix).unlink()
        if entry is not None:
            with self._totals() as totals:
                totals.add(_owner(place), -1, -entry.size)


def _owner(place: Path) -> str:
    """The hashed owner of a file."""
    return place.name.partition("-")[0]
