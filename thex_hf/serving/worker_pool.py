"""Workers that answer in turn: which one, how many wait, and what happens when one dies."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from thex_hf.errors import BusyError, ChildError
from thex_hf.processes.channel import from_message
from thex_hf.serving.fairness import Turns, spent
from thex_hf.serving.runs import RunName
from thex_hf.serving.worker_handles import Hand, Hands


@dataclass(eq=False)
class _Place:
    """A worker, and the orders that wait for it."""

    hand: Hand
    turns: Turns = field(default_factory=Turns)
    waiting: Counter[str] = field(default_factory=Counter)
    gone: bool = False
    keys: set[tuple[str, str]] = field(default_factory=set)

    @property
    def line(self) -> int:
        """Orders that are being done or wait."""
        return self.waiting.total()

    @property
    def alive(self) -> bool:
        return self.hand.alive and not self.gone


@dataclass(eq=False)
class Crew:
    """Hands orders to workers and replaces the ones that die.

    A run stays with the worker that began it. A worker that dies takes its runs with it; whoever
    had sent the order it died of gets an error, and those that waited for it are served by another.
    Owners take turns at a worker, and none has more waiting than is left for the others.

    Args:
        hands: where workers come from.
        size: how many.
        most_waiting: orders that may wait for each before new texts are turned away.
        seconds: that one order may take before its worker is ended.
        run_seconds: after which a run is surely given up.
        told: called with a line about each worker that died.
    """

    hands: Hands
    size: int = 1
    most_waiting: int = 16
    seconds: float = 300.0
    run_seconds: float = 600.0
    told: Callable[[str], object] = lambda line: None
    replaced: int = 0
    _places: list[_Place] = field(default_factory=list, repr=False)
    _runs: dict[RunName, tuple[_Place, float]] = field(default_factory=dict, repr=False)
    _usual: float = 1.0

    async def start(self) -> None:
        """Start the workers. Raises ChildError."""
        self._places = [await self._hire() for _ in range(self.size)]

    async def stop(self) -> None:
        """End all of them."""
        for place in self._places:
            place.gone = True
            await self.hands.bury(place.hand)

    @property
    def waiting(self) -> int:
        """Orders that are being done or wait."""
        return sum(place.line for place in self._places)

    @property
    def runs(self) -> int:
        """Runs in progress."""
        return len(self._runs)

    def wait_seconds(self) -> int:
        """About how long it will take until a worker has time, at least a second."""
        return max(1, math.ceil(self._usual * self.waiting / max(1, len(self._places))))

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Have one order done, by the worker of its run if it has one.

        Raises:
            BusyError: too many wait already, or too many of this owner; a run in progress is never
                turned away.
            ChildError: the worker died of it, or took too long.
            ThexError: as the worker says.
        """
        name = RunName(order["owner"], order["keys"], order["run"]) if "run" in order else None
        held = self._runs.get(name) if name else None
        if held is None and self._is_full(order["owner"]):
            raise BusyError(
                f"{self.waiting} requests wait for {len(self._places)} workers; try again in about "
                f"{self.wait_seconds()} s"
            )
        while True:
            place = held[0] if held else self._choose(order)
            out = await asyncio.shield(asyncio.create_task(self._turn(place, order, name)))
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
        turns = [self._turn(place, order, None) for place in list(self._places)]
        await asyncio.shield(asyncio.gather(*turns, return_exceptions=True))

    def _is_full(self, owner: str) -> bool:
        own = sum(place.waiting[owner] for place in self._places)
        return spent(owner, own, self.waiting, self.most_waiting * len(self._places))

    def _choose(self, order: dict[str, Any]) -> _Place:
        keys = (order.get("owner"), order.get("keys"))
        return min(self._places, key=lambda place: (place.line, keys not in place.keys))

    async def _turn(
        self, place: _Place, order: dict[str, Any], name: RunName | None
    ) -> dict[str, Any] | None:
        """Wait for a worker and have it do an order; None if it died before."""
        owner = order["owner"]
        place.waiting[owner] += 1
        try:
            async with place.turns.turn(owner):
                if not place.alive:
                    await self._replace(place)
                    return None
                try:
                    out = await asyncio.wait_for(place.hand.ask(order), self.seconds)
                except (TimeoutError, EOFError, OSError) as error:
                    how = await self._replace(place, late=isinstance(error, TimeoutError))
                    raise ChildError(
                        f"the worker that did this {how}; it has been replaced, send the text again"
                    ) from None
        finally:
            place.waiting[owner] -= 1
            place.waiting += Counter()  # forgets whose count is zero
        self._note(place, order, name, out)
        return out

    def _note(
        self, place: _Place, order: dict[str, Any], name: RunName | None, out: dict[str, Any]
    ) -> None:
        keys = (order["owner"], order["keys"])
        if order["op"] == "forget":
            place.keys.discard(keys)
        elif "error" not in out:
            place.keys.add(keys)
        if order["op"] == "answer" and "error" not in out:
            self._usual += 0.1 * (out["seconds"] - self._usual)
        if name is not None and out.get("open"):
            self._runs[name] = (place, time.monotonic())
        elif name is not None:
            self._runs.pop(name, None)
        end = time.monotonic() - self.run_seconds
        for old in [run for run, (_, touched) in self._runs.items() if touched < end]:
            del self._runs[old]

    async def _replace(self, place: _Place, *, late: bool = False) -> str:
        """Bury a worker and hire another, unless that is done; how it ended."""
        if place not in self._places:
            return "was replaced"
        how = "could not be replaced before"
        if not place.gone:
            place.gone = True
            how = await self.hands.bury(place.hand)
            how = f"took more than {self.seconds:.0f} s" if late else how
            self._runs = {run: held for run, held in self._runs.items() if held[0] is not place}
            self.replaced += 1
            self.told(f"{place.hand.name} {how}")
        fresh = await self._hire()
        self._places[self._places.index(place)] = fresh
        return how

    async def _hire(self) -> _Place:
        return _Place(await self.hands.hire())
