"""Workers that answer in turn: which one, how many wait, and what happens when one dies."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from thex_hf.errors import BusyError, ChildError
from thex_hf.processes.faults import from_message
from thex_hf.service.cradle import Cradle
from thex_hf.service.runs import RunName

_LENGTH = struct.Struct("<Q")
LIMIT = 1 << 20
"""Bytes that a stream reads ahead."""


@dataclass(eq=False)
class _Hand:
    """One worker process, as its employer sees it."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    gone: bool = False
    keys: set[tuple[str, str]] = field(default_factory=set)

    @property
    def alive(self) -> bool:
        return not (self.gone or self.reader.at_eof())

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        body = msgpack.packb(order)
        self.writer.write(_LENGTH.pack(len(body)))
        self.writer.write(body)
        await self.writer.drain()
        (length,) = _LENGTH.unpack(await self.reader.readexactly(_LENGTH.size))
        return dict(msgpack.unpackb(await self.reader.readexactly(length)))


@dataclass(eq=False)
class Crew:
    """Hands orders to workers and replaces the ones that die.

    A run stays with the worker that began it. A worker that dies takes its runs with it; whoever
    had sent the order it died of gets an error, and those that waited for it are served by another.

    Args:
        cradle: where workers come from.
        size: how many.
        most_waiting: orders that may wait for each before new texts are turned away.
        seconds: that one order may take before its worker is ended.
        run_seconds: after which a run is surely given up.
        told: called with a line about each worker that died.
    """

    cradle: Cradle
    size: int = 1
    most_waiting: int = 4
    seconds: float = 300.0
    run_seconds: float = 600.0
    told: Callable[[str], object] = lambda line: None
    replaced: int = 0
    _hands: list[_Hand] = field(default_factory=list, repr=False)
    _runs: dict[RunName, tuple[_Hand, float]] = field(default_factory=dict, repr=False)
    _usual: float = 1.0

    async def start(self) -> None:
        """Start the workers. Raises ChildError."""
        self._hands = [await self._hire() for _ in range(self.size)]

    async def stop(self) -> None:
        """End all of them."""
        for hand in self._hands:
            hand.gone = True
            hand.writer.close()
            await asyncio.to_thread(self.cradle.bury, hand.pid, kill=True)

    @property
    def waiting(self) -> int:
        """Orders that are being done or wait."""
        return sum(hand.waiting for hand in self._hands)

    @property
    def runs(self) -> int:
        """Runs in progress."""
        return len(self._runs)

    @property
    def pids(self) -> list[int]:
        """The worker processes."""
        return [hand.pid for hand in self._hands]

    def wait_seconds(self) -> int:
        """About how long it will take until a worker has time, at least a second."""
        return max(1, math.ceil(self._usual * self.waiting / max(1, len(self._hands))))

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Have one order done, by the worker of its run if it has one.

        Raises:
            BusyError: too many wait already; a run in progress is never turned away.
            ChildError: the worker died of it, or took too long.
            ThexError: as the worker says.
        """
        name = RunName(order["owner"], order["keys"], order["run"]) if "run" in order else None
        held = self._runs.get(name) if name else None
        if held is None and min(hand.waiting for hand in self._hands) >= self.most_waiting:
            raise BusyError(
                f"{self.waiting} requests wait for {len(self._hands)} workers; try again in about "
                f"{self.wait_seconds()} s"
            )
        while True:
            hand = held[0] if held else self._choose(order)
            out = await asyncio.shield(asyncio.create_task(self._turn(hand, order, name)))
            if out is not None:
                break
            held = None  # it died before this order's turn: another worker knows what to say
        if "error" in out:
            raise from_message(out["error"])
        return out

    async def give_up(self, order: dict[str, Any]) -> None:
        """Have a run given up, if there is one. Raises ChildError."""
        if RunName(order["owner"], order["keys"], order["run"]) in self._runs:
            await self.ask(order)

    async def tell_all(self, order: dict[str, Any]) -> None:
        """Have every worker do an order; one that dies meanwhile has nothing left to do."""
        turns = [self._turn(hand, order, None) for hand in list(self._hands)]
        await asyncio.shield(asyncio.gather(*turns, return_exceptions=True))

    def _choose(self, order: dict[str, Any]) -> _Hand:
        keys = (order.get("owner"), order.get("keys"))
        return min(self._hands, key=lambda hand: (hand.waiting, keys not in hand.keys))

    async def _turn(
        self, hand: _Hand, order: dict[str, Any], name: RunName | None
    ) -> dict[str, Any] | None:
        """Wait for a worker and have it do an order; None if it died before."""
        hand.waiting += 1
        try:
            async with hand.lock:
                if not hand.alive:
                    await self._replace(hand)
                    return None
                try:
                    out = await asyncio.wait_for(hand.ask(order), self.seconds)
                except (TimeoutError, EOFError, OSError) as error:
                    how = await self._replace(hand, late=isinstance(error, TimeoutError))
                    raise ChildError(
                        f"the worker that did this {how}; it has been replaced, send the text again"
                    ) from None
        finally:
            hand.waiting -= 1
        self._note(hand, order, name, out)
        return out

    def _note(
        self, hand: _Hand, order: dict[str, Any], name: RunName | None, out: dict[str, Any]
    ) -> None:
        keys = (order["owner"], order["keys"])
        if order["op"] == "forget":
            hand.keys.discard(keys)
        elif "error" not in out:
            hand.keys.add(keys)
        if order["op"] == "answer" and "error" not in out:
            self._usual += 0.1 * (out["seconds"] - self._usual)
        if name is not None and out.get("open"):
            self._runs[name] = (hand, time.monotonic())
        elif name is not None:
            self._runs.pop(name, None)
        end = time.monotonic() - self.run_seconds
        for old in [run for run, (_, touched) in self._runs.items() if touched < end]:
            del self._runs[old]

    async def _replace(self, hand: _Hand, *, late: bool = False) -> str:
        """Bury a worker and hire another, unless that is done; how it ended."""
        if hand not in self._hands:
            return "was replaced"
        how = "could not be replaced before"
        if not hand.gone:
            hand.gone = True
            hand.writer.close()
            how = await asyncio.to_thread(self.cradle.bury, hand.pid, kill=True)
            how = f"took more than {self.seconds:.0f} s" if late else how
            self._runs = {run: held for run, held in self._runs.items() if held[0] is not hand}
            self.replaced += 1
            self.told(f"worker {hand.pid} {how}")
        fresh = await self._hire()
        self._hands[self._hands.index(hand)] = fresh
        return how

    async def _hire(self) -> _Hand:
        pid, end = await asyncio.to_thread(self.cradle.fork)
        return _Hand(pid, *await asyncio.open_unix_connection(sock=end, limit=LIMIT))
