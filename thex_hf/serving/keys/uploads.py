"""Key files on their way to the shelf: one step of an owner at a time, the last one a trial."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from thex_hf.errors import KeyMismatch, ThexError
from thex_hf.serving.fairness import ANYONE, Turns
from thex_hf.serving.keys.repository import Entry, Shelf
from thex_hf.serving.worker_pool import Crew

T = TypeVar("T")
FRESH_SECONDS = 10.0
"""That the bytes on the shelf, as shown to whoever asks, may be old."""


class Uploads:
    """The shelf as a server's clients use it. For one event loop.

    Of one owner one step is done at a time, so that nobody fills the threads or holds a lock that
    others wait for.

    Args:
        shelf: where keys go.
        crew: tries the ones that are whole.
    """

    def __init__(self, shelf: Shelf, crew: Crew) -> None:
        self._shelf, self._crew = shelf, crew
        self._steps: defaultdict[str, Turns] = defaultdict(Turns)
        self._taken, self._counted = 0, -FRESH_SECONDS

    async def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :meth:`thex_hf.serving.keys.repository.Shelf.begin`."""
        return await self._step(owner, name, lambda: self._shelf.begin(name, owner, size))

    async def find(self, name: str, owner: str) -> Entry | None:
        """See :meth:`thex_hf.serving.keys.repository.Shelf.find`."""
        return await self._step(owner, name, lambda: self._shelf.find(name, owner))

    async def require(self, name: str, owner: str) -> None:
        """Refuse a piece of a file that nobody announced, before it is read.

        Raises:
            KeyMismatch: says so.
        """
        if await self.find(name, owner) is None:
            raise KeyMismatch(f"no key file {name} of yours was announced; begin one first")

    async def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """Put a piece on the shelf; a file that is whole is tried by a worker, dropped if bad.

        Raises:
            ThexError: as :meth:`thex_hf.serving.keys.repository.Shelf.write`, or what is wrong with
                the keys.
        """
        shelf = self._shelf
        entry = await self._step(owner, name, lambda: shelf.write(name, owner, offset, data))
        if entry.complete:
            try:
                await self._crew.ask({"op": "keys", "owner": owner, "keys": name})
            except ThexError as error:
                if isinstance(error, ValueError):  # the file is to blame, not the server
                    await self._step(owner, name, lambda: shelf.delete(name, owner))
                raise
        return entry

    async def forget(self, name: str, owner: str) -> None:
        """Drop a key file, on the shelf and in every worker."""
        await self._step(owner, name, lambda: self._shelf.delete(name, owner))
        await self._crew.tell_all({"op": "forget", "owner": owner, "keys": name})

    async def sweep(self) -> int:
        """See :meth:`thex_hf.serving.keys.repository.Shelf.sweep`."""
        return await asyncio.to_thread(self._shelf.sweep)

    async def taken(self) -> int:
        """Bytes of all files, counted at most ten seconds ago. Raises KeyStoreError."""
        async with self._alone(""):
            if time.monotonic() - self._counted >= FRESH_SECONDS:
                self._taken = await asyncio.to_thread(self._shelf.taken)
                self._counted = time.monotonic()
        return self._taken

    async def _step(self, owner: str, name: str, work: Callable[[], T]) -> T:
        """Do something with one owner's files in a thread; of ``anyone``'s, with one file."""
        async with self._alone(f"{owner} {name}" if owner == ANYONE else owner):
            return await asyncio.to_thread(work)

    @asynccontextmanager
    async def _alone(self, whose: str) -> AsyncIterator[None]:
        steps = self._steps[whose]
        try:
            async with steps.turn(whose):
                yield
        finally:
            if steps.free:
                self._steps.pop(whose, None)
