"""What a crew is made of: something that does orders, and something that provides more of it.

Another provider puts workers on other machines; ``examples/ray/service.py`` is one.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack

from thex_hf.serving.fork_server_client import Cradle

_LENGTH = struct.Struct("<Q")
AHEAD = 1 << 20
"""Bytes that a stream reads ahead."""


class Hand(Protocol):
    """One worker, as its employer sees it. It is asked one thing at a time."""

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        ...

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """What :meth:`thex_hf.serving.worker.Worker.do` says of an order.

        Raises:
            EOFError, OSError: it died.
        """
        ...


class Hands(Protocol):
    """Where workers come from."""

    async def hire(self) -> Hand:
        """A new worker. Raises ChildError."""
        ...

    async def bury(self, hand: Hand) -> str:
        """End a worker if it has not ended; how it did, in words."""
        ...


@dataclass(eq=False)
class ForkedHand:
    """A worker that a :class:`~thex_hf.serving.fork_server_client.Cradle` forked.

    Args:
        pid: its process.
        reader: from it.
        writer: to it.
    """

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def name(self) -> str:
        """Its process, in words."""
        return f"worker {self.pid}"

    @property
    def alive(self) -> bool:
        """Whether its end of the socket is open."""
        return not self.reader.at_eof()

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order, wait for what it says."""
        body = msgpack.packb(order)
        self.writer.write(_LENGTH.pack(len(body)))
        self.writer.write(body)
        await self.writer.drain()
        (length,) = _LENGTH.unpack(await self.reader.readexactly(_LENGTH.size))
        return dict(msgpack.unpackb(await self.reader.readexactly(length)))


@dataclass(eq=False)
class ForkedHands:
    """Workers of this machine.

    Args:
        cradle: forks them.
    """

    cradle: Cradle

    async def hire(self) -> ForkedHand:
        """Fork a worker."""
        pid, end = await asyncio.to_thread(self.cradle.fork)
        return ForkedHand(pid, *await asyncio.open_unix_connection(sock=end, limit=AHEAD))

    async def bury(self, hand: Hand) -> str:
        """Kill it if need be, and wait for its end."""
        assert isinstance(hand, ForkedHand)
        hand.writer.close()
        return await asyncio.to_thread(self.cradle.bury, hand.pid, kill=True)
