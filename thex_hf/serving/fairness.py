"""Owners share what is bounded: how much one may hold, and whose turn it is at a worker."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ANYONE = "anyone"
"""Owner of keys where nobody says who they are: stands for many, and so may hold all."""


def spent(owner: str, own: int, taken: int, most: int) -> bool:
    """Whether an owner may hold no more places.

    One owner gets half of the places at most, two a third each, and so on: as many as are free. So
    whoever holds none finds one, however much others ask for: three of them, if there are 8 places.

    Args:
        owner: who asks; :data:`ANYONE` may hold all.
        own: places that the owner holds.
        taken: places that all hold, the owner's among them.
        most: places there are.
    """
    free = most - taken
    return free <= 0 or (owner != ANYONE and own >= free)


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
