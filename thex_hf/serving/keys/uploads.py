"""Uploads of key files: one step of an owner at a time, and at last a trial by a worker."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from thex_hf.errors import KeyMismatch, ThexError
from thex_hf.protocol.prepared_server import TicketCounts, TicketLedger
from thex_hf.serving.fairness import ANYONE, FairLock
from thex_hf.serving.keys.repository import Entry, KeyRepository
from thex_hf.serving.worker import Job
from thex_hf.serving.worker_pool import WorkerPool

T = TypeVar("T")
FRESH_SECONDS = 10.0
"""How old the number of bytes may be that whoever asks is shown."""


class Uploads:
    """The repository as a server's clients use it. For one event loop.

    Of one owner one step is done at a time, so that nobody fills the threads or holds a lock that
    others wait for.

    Args:
        repository: where keys go.
        pool: of the workers that try the ones that are whole.
        tickets: that go with their keys; None: the protocol has none.
    """

    def __init__(
        self, repository: KeyRepository, pool: WorkerPool, tickets: TicketLedger | None = None
    ) -> None:
        self._repository, self._pool, self._tickets = repository, pool, tickets
        self._locks: defaultdict[str, FairLock] = defaultdict(FairLock)
        self._total, self._counted = 0, -FRESH_SECONDS

    async def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :meth:`thex_hf.serving.keys.repository.KeyRepository.begin`."""
        return await self._step(owner, name, lambda: self._repository.begin(name, owner, size))

    async def find(self, name: str, owner: str) -> Entry | None:
        """See :meth:`thex_hf.serving.keys.repository.KeyRepository.find`."""
        return await self._step(owner, name, lambda: self._repository.find(name, owner))

    async def require(self, name: str, owner: str) -> None:
        """Refuse a piece of a file that nobody announced, before it is read.

        Raises:
            KeyMismatch: says so.
        """
        if await self.find(name, owner) is None:
            raise KeyMismatch(f"no key file {name} of yours was announced; begin one first")

    async def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """Put a piece where it goes; a file that is whole is tried by a worker, dropped if bad.

        Raises:
            ThexError: as :meth:`thex_hf.serving.keys.repository.KeyRepository.write`, or what is
                wrong with the keys.
        """
        repository = self._repository
        entry = await self._step(owner, name, lambda: repository.write(name, owner, offset, data))
        if entry.complete:
            try:
                await self._pool.ask(Job("keys", owner, name))
            except ThexError as error:
                if isinstance(error, ValueError):  # the file is to blame, not the server
                    await self._step(owner, name, lambda: repository.delete(name, owner))
                raise
        return entry

    async def forget(self, name: str, owner: str) -> None:
        """Drop a key file, here and in every worker, and the tickets under it."""
        await self._step(owner, name, lambda: self._repository.delete(name, owner))
        await self._pool.ask_all(Job("forget", owner, name))
        if self._tickets is not None:
            await asyncio.to_thread(self._tickets.forget, owner, name)

    async def sweep(self) -> int:
        """See :meth:`thex_hf.serving.keys.repository.KeyRepository.sweep`; tickets expire, too."""
        if self._tickets is not None:
            await asyncio.to_thread(self._tickets.sweep)
        return await asyncio.to_thread(self._repository.sweep)

    async def ticket_counts(self) -> TicketCounts | None:
        """What is kept of tickets; None: the protocol has none. Raises KeyStoreError."""
        return None if self._tickets is None else await asyncio.to_thread(self._tickets.counts)

    async def total_bytes(self) -> int:
        """Bytes of all files, counted at most ten seconds ago. Raises KeyStoreError."""
        async with self._lock(""):
            if time.monotonic() - self._counted >= FRESH_SECONDS:
                self._total = await asyncio.to_thread(self._repository.total_bytes)
                self._counted = time.monotonic()
        return self._total

    async def _step(self, owner: str, name: str, work: Callable[[], T]) -> T:
        """Do something with one owner's files in a thread; of ``anyone``'s, with one file."""
        async with self._lock(f"{owner} {name}" if owner == ANYONE else owner):
            return await asyncio.to_thread(work)

    @asynccontextmanager
    async def _lock(self, whose: str) -> AsyncIterator[None]:
        lock = self._locks[whose]
        try:
            async with lock.hold(whose):
                yield
        finally:
            if lock.free:
                self._locks.pop(whose, None)
