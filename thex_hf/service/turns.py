"""A worker's time, handed from owner to owner."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A lock that passes between owners in turn, and within an owner to who came first.

    However many orders one owner has waiting, another waits for one of them at most.
    """

    def __init__(self) -> None:
        self._held = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def free(self) -> bool:
        """Whether nobody holds it or waits for it."""
        return not self._held

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for this owner's turn, and hold the lock."""
        if self._held:
            mine = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(owner, deque()).append(mine)
            try:
                await mine
            except asyncio.CancelledError:
                if mine.done() and not mine.cancelled():
                    self._pass_on()
                raise
        self._held = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            owner, line = self._waiting.popitem(last=False)
            mine = line.popleft()
            if line:
                self._waiting[owner] = line  # behind the other owners
            if not mine.done():
                mine.set_result(None)
                return
        self._held = False
