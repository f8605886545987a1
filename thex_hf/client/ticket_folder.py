"""A client's stock of tickets in a folder, each batch in one of its own.

A ticket is marked as spent, as far as the disk, before it is handed out. A batch that was copied,
or brought back from a backup, would have forgotten which are: the server would see two texts under
the same masks before it could refuse the second. So a batch knows the inodes of its files and the
time when one that is never written again was last changed, which no copy keeps; with others it is
dropped. A disk that is put back as a whole, by a snapshot, is not noticed.
"""

from __future__ import annotations

import logging
import math
import mmap
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock
from msgspec import Struct, msgpack

from thex_hf.backends.numerics.modular import Words
from thex_hf.client.tickets import OpenBatch, TicketStock, none_left
from thex_hf.errors import KeyStoreError
from thex_hf.prepared.masks import SEED_BYTES, ticket_seed
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.protocol.prepared_client import Ticket

logger = logging.getLogger(__name__)
FORMAT = "thex_hf.tickets"
VERSION = 1
ABOUT, ROWS, SPENT, PLACE = "about", "rows", "spent", "place"
UNFINISHED, LOCK = ".batch-", ".lock"
LOCK_SECONDS = 60.0


class _About(Struct, frozen=True, forbid_unknown_fields=True):
    """What a batch's folder says of it."""

    format: str
    version: int
    plan: str
    key_id: str
    batch: bytes
    seed: bytes
    tickets: int
    numbers: int
    bytes_up: int = 0
    bytes_down: int = 0
    until: float = 0.0
    """When it expires, in seconds since 1970."""

    def __repr__(self) -> str:
        return "<about a batch of tickets>"  # the seed is secret


@dataclass
class FolderStock(TicketStock):
    """Tickets in a folder, each batch in one of its own. Several processes may share it.

    Args:
        folder: of this plan and key pair; made with mode 0700.
        plan: of the tickets.
        key_id: of the keys.
        lifetime: seconds from the beginning of a batch after which it expires.
        clock: seconds since 1970.
    """

    folder: Path
    plan: PreparedPlan
    key_id: str
    lifetime: float = math.inf
    clock: Callable[[], float] = field(default=time.time, repr=False)

    def left(self) -> int:
        """Tickets that are not spent."""
        return sum(map(_left_in, self._batches()))

    def batches(self) -> int:
        """Batches with tickets that are not spent."""
        return sum(_left_in(path) > 0 for path in self._batches())

    def take(self) -> Ticket:
        """A ticket.

        Raises:
            TicketError: there is none.
            KeyStoreError: the folder cannot be written, or holds something else.
        """
        with self._alone():
            self._sweep()
            for path in self._batches():
                about = self._about(path)
                number = self._mark(path, about.tickets)
                if number is None:
                    shutil.rmtree(path, ignore_errors=True)
                    continue
                row = self._cut_out(path, about, number)
                return Ticket(
                    about.batch,
                    number,
                    ticket_seed(about.seed, number),
                    row,
                    about.bytes_up // about.tickets,
                    about.bytes_down // about.tickets,
                )
        raise none_left()

    def drop(self, batch: bytes) -> int:
        """Forget a batch; how many tickets were left."""
        with self._alone():
            before = self.left()
            shutil.rmtree(self.folder / batch.hex(), ignore_errors=True)
            return before - self.left()

    @contextmanager
    def adding(self) -> Iterator[OpenBatch]:
        """A place for a new batch.

        Raises:
            KeyStoreError: the folder cannot be written, or the disk is full.
        """
        count, numbers = self.plan.batch.tickets, self.plan.layout.numbers
        until = self.clock() + self.lifetime
        with self._alone():
            self._sweep()
            made = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
            lives = FileLock(made / LOCK, mode=0o600)  # says that its process does
            lives.acquire()
        try:
            try:
                _allocate(made / ROWS, 8 * count * numbers)
                _write(made / SPENT, bytes(count))
            except OSError as error:
                raise KeyStoreError(
                    f"cannot write {8 * count * numbers / 1e6:.0f} MB of tickets to {self.folder}: "
                    f"{error}; make room, or name another directory for the keys"
                ) from error
            mapped = _mapped(made / ROWS)
            rows = np.frombuffer(mapped, np.uint64).reshape(count, numbers)
            batch = OpenBatch(b"", secrets.token_bytes(SEED_BYTES), rows, file=mapped)
            yield batch
            mapped.flush()
            about = _About(
                FORMAT,
                VERSION,
                self.plan.id,
                self.key_id,
                batch.name,
                batch.seed,
                count,
                numbers,
                batch.bytes_up,
                batch.bytes_down,
                until,
            )
            _write(made / ABOUT, msgpack.encode(about))
            _write(made / PLACE, _place(made).encode())
            with self._alone():
                os.rename(made, self.folder / batch.name.hex())
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        finally:
            lives.release()

    def sweep(self) -> None:
        """Remove batches that have expired or were copied, and what killed processes have left.

        Raises:
            KeyStoreError: the folder cannot be written.
        """
        if self.folder.is_dir():
            with self._alone():
                self._sweep()

    def _batches(self) -> list[Path]:
        """The folders of good batches, the oldest first."""
        return [path for path in self._folders() if not self._ended(path)]

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        paths = (path for path in self.folder.iterdir() if not path.name.startswith("."))
        return sorted(paths, key=lambda path: path.stat().st_mtime)

    def _ended(self, path: Path) -> str:
        """Why a batch may not be used any more; empty: it may, or taking a ticket will tell."""
        try:
            until = _read(path).until
        except KeyStoreError:
            return ""
        try:
            placed = (path / PLACE).read_text(encoding="ascii") == _place(path)
        except (OSError, ValueError):
            placed = False
        if not placed:
            return "were copied or brought back from a backup, and some may be spent"
        return "have expired" if self.clock() >= until else ""

    def _about(self, path: Path) -> _About:
        about = _read(path)
        numbers = self.plan.layout.numbers
        stated = (about.format, about.version, about.plan, about.key_id, about.numbers)
        if stated != (FORMAT, VERSION, self.plan.id, self.key_id, numbers):
            raise KeyStoreError(
                f"{path} has tickets of another plan, key pair or version of thex_hf; delete it"
            )
        if (path / ROWS).stat().st_size != 8 * about.tickets * numbers:
            raise KeyStoreError(f"{path / ROWS} is not whole; delete {path}")
        return about

    @staticmethod
    def _mark(path: Path, tickets: int) -> int | None:
        """Mark the first ticket that is not spent; None: all are."""
        with open(path / SPENT, "r+b") as file:
            number = file.read(tickets).find(0)
            if number < 0:
                return None
            file.seek(number)
            file.write(b"\1")
            file.flush()
            os.fsync(file.fileno())
            return number

    @staticmethod
    def _cut_out(path: Path, about: _About, number: int) -> Words:
        """The row of a ticket, which the file then no longer has."""
        with open(path / ROWS, "r+b") as file:
            file.seek(8 * about.numbers * number)
            data = file.read(8 * about.numbers)
            file.seek(8 * about.numbers * number)
            file.write(bytes(len(data)))
        return np.frombuffer(data, np.uint64)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.folder / LOCK, timeout=LOCK_SECONDS, mode=0o600):
                yield
        except (OSError, TimeoutError) as error:
            if isinstance(error, KeyStoreError):
                raise
            raise KeyStoreError(
                f"cannot use the tickets in {self.folder}: {error}; name a directory that you can "
                f"write to"
            ) from error

    def _sweep(self) -> None:
        """See :meth:`sweep`; nobody holds the locks of processes that were killed."""
        for path in self._folders():
            if reason := self._ended(path):
                logger.warning("dropping %d tickets in %s: they %s", _left_in(path), path, reason)
                shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"{UNFINISHED}*"):
            lock = FileLock(path / LOCK, timeout=0)
            with suppress(TimeoutError, OSError):
                lock.acquire()
                lock.release()
                shutil.rmtree(path, ignore_errors=True)


def _read(path: Path) -> _About:
    try:
        return msgpack.decode((path / ABOUT).read_bytes(), type=_About)
    except Exception:  # it may quote what it read, and that may be secret: no cause
        raise KeyStoreError(f"{path} is no batch of tickets, or damaged; delete it") from None


def _left_in(path: Path) -> int:
    """Tickets of a batch's folder that are not spent; none where it has gone meanwhile."""
    with suppress(FileNotFoundError):
        return int((np.fromfile(path / SPENT, np.uint8) == 0).sum())
    return 0


def _place(path: Path) -> str:
    """What the system says of a batch's files, and of no copy of them."""
    about, spent, rows = ((path / name).stat() for name in (ABOUT, SPENT, ROWS))
    return f"{about.st_ino} {about.st_ctime_ns} {spent.st_ino} {rows.st_ino}"


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _mapped(path: Path) -> mmap.mmap:
    """A file's bytes as memory that forked children share."""
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def _allocate(path: Path, size: int) -> None:
    """A file of zeros whose blocks the disk has set aside, where it can."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.truncate(descriptor, size)
    finally:
        os.close(descriptor)
