"""Owners share what is bounded: how much one may hold, and whose turn it is at a worker."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ANYONE = "anyone"
"""Owner of keys where nobody says who they are: stands for many, and so may hold all."""


def share_exhausted(owner: str, owned: int, taken: int, capacity: int) -> bool:
    """Whether an owner may take no more of a bounded number of places.

    One owner gets half of the places at most, two a third each, and so on: as many as are free. So
    whoever holds none gets one, however much others ask for: three of them, if there are 8 places.

    Args:
        owner: who asks; :data:`ANYONE` may hold all.
        owned: places that the owner holds.
        taken: places that all hold, the owner's among them.
        capacity: places there are.
    """
    free = capacity - taken
    return free <= 0 or (owner != ANYONE and owned >= free)


class FairLock:
    """A lock that passes between owners in turn, and within an owner to who came first.

    However many tasks of one owner wait, another owner waits for one of them at most.
    """

    def __init__(self) -> None:
        self._held = False
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def free(self) -> bool:
        """Whether nobody holds it or waits for it."""
        return not self._held

    @asynccontextmanager
    async def hold(self, owner: str) -> AsyncIterator[None]:
        """Wait for this owner's turn, and hold the lock."""
        if self._held:
            turn = asyncio.get_running_loop().create_future()
            self._queues.setdefault(owner, deque()).append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on()
                raise
        self._held = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._queues:
            owner, queue = self._queues.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._queues[owner] = queue  # behind the other owners
            if not turn.done():
                turn.set_result(None)
                return
        self._held = False
