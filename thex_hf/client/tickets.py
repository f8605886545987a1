"""A client's stock of tickets of one plan; here the one in memory.

Tickets are secrets, like keys, and each is good for one text. One is marked as spent before it is
handed out: whatever happens then, it is not handed out again.
"""

from __future__ import annotations

import math
import mmap
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import TicketError
from thex_hf.prepared.masks import SEED_BYTES, ticket_seed
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.protocol.prepared_client import Ticket


@dataclass
class OpenBatch:
    """A batch that is being prepared.

    Args:
        name: the server's, once it has one.
        seed: of the client's masks.
        rows: ``(tickets, numbers)``, shared with forked children.
        bytes_up: sent to prepare it, once that is known.
        bytes_down: received.
        file: the mapping of the rows, where they lie in a file.
    """

    name: bytes
    seed: bytes = field(repr=False)
    rows: Words = field(repr=False)
    bytes_up: int = 0
    bytes_down: int = 0
    file: mmap.mmap | None = field(default=None, repr=False)

    def give_back(self) -> None:
        """Let go of this process's memory for rows that lie in a file; what was written stays."""
        if self.file is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.file.madvise(mmap.MADV_DONTNEED)


class TicketStock(ABC):
    """Tickets of one plan under one key pair. Any thread may use it."""

    @abstractmethod
    def left(self) -> int:
        """Tickets that are not spent."""

    @abstractmethod
    def batches(self) -> int:
        """Batches with tickets that are not spent."""

    @abstractmethod
    def take(self) -> Ticket:
        """A ticket, marked as spent. Raises TicketError: there is none."""

    @abstractmethod
    def drop(self, batch: bytes) -> int:
        """Forget a batch that the server no longer knows; how many of its tickets were left."""

    @abstractmethod
    def adding(self) -> AbstractContextManager[OpenBatch]:
        """A place for a new batch: it joins the stock if the block ends without an error."""


def none_left() -> TicketError:
    """What is raised where a ticket is wanted and there is none."""
    return TicketError("no ticket is left for texts of this length: prepare some, thex-hf prepare")


@dataclass
class _Held:
    batch: OpenBatch
    until: float
    next: int = 0


@dataclass
class MemoryStock(TicketStock):
    """Tickets that end with the process.

    Args:
        plan: of the tickets.
        lifetime: seconds from the beginning of a batch after which it expires.
        clock: seconds, of any beginning.
    """

    plan: PreparedPlan
    lifetime: float = math.inf
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _batches: list[_Held] = field(init=False, default_factory=list, repr=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)

    def left(self) -> int:
        """Tickets that are not spent."""
        return sum(len(held.batch.rows) - held.next for held in self._good())

    def batches(self) -> int:
        """Batches with tickets that are not spent."""
        return sum(held.next < len(held.batch.rows) for held in self._good())

    def _good(self) -> list[_Held]:
        """The batches that have not expired."""
        return [held for held in self._batches if self.clock() < held.until]

    def take(self) -> Ticket:
        """A ticket."""
        with self._lock:
            self._batches = [h for h in self._good() if h.next < len(h.batch.rows)]
            if not self._batches:
                raise none_left()
            held = self._batches[0]
            number, held.next = held.next, held.next + 1
            return _ticket(held.batch, number)

    def drop(self, batch: bytes) -> int:
        """Forget a batch; how many tickets were left."""
        with self._lock:
            before = self.left()
            self._batches = [held for held in self._batches if held.batch.name != batch]
            return before - self.left()

    @contextmanager
    def adding(self) -> Iterator[OpenBatch]:
        """A place for a new batch."""
        shape = (self.plan.batch.tickets, self.plan.layout.numbers)
        memory = mmap.mmap(-1, max(1, 8 * shape[0] * shape[1]))  # children write to it
        rows = np.frombuffer(memory, np.uint64, shape[0] * shape[1]).reshape(shape)
        batch, until = OpenBatch(b"", secrets.token_bytes(SEED_BYTES), rows), self.clock()
        yield batch
        with self._lock:
            self._batches.append(_Held(batch, until + self.lifetime))


def _ticket(batch: OpenBatch, number: int) -> Ticket:
    row = batch.rows[number].copy()
    batch.rows[number] = 0
    up, down = (total // len(batch.rows) for total in (batch.bytes_up, batch.bytes_down))
    return Ticket(batch.name, number, ticket_seed(batch.seed, number), row, up, down)
