"""Runs in progress: found by owner, keys and run, bounded in number and in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from thex_hf.errors import BusyError, ExpiredError, WireError
from thex_hf.protocol.messages import Message
from thex_hf.serving.fairness import share_exhausted


class RunName(NamedTuple):
    """Whose run it is; nobody else reaches it.

    Args:
        owner: who sent the keys.
        keys: SHA-256 of the key file.
        run: drawn by the client.
    """

    owner: str
    keys: str
    run: str


class Run(Protocol):
    """What a server does for one run, of any protocol."""

    @property
    def finished(self) -> bool:
        """Whether the answer has been given."""
        ...

    def start(self, data: Message) -> bytes:
        """Take the request. Raises ThexError: it is refused, and the run is none."""
        ...

    def reply(self, data: Message) -> bytes:
        """Take the next message. Raises ThexError: it is refused, and nothing has changed."""
        ...


@dataclass
class _Held:
    run: Run
    touched: float
    preparing: bool


@dataclass
class Runs:
    """Runs that wait for a client's reply.

    Args:
        most: at once, of all clients; for one owner's see
            :func:`thex_hf.serving.fairness.share_exhausted`.
        most_of_keys: at once, under one key file of one owner.
        seconds: that a client may take for a reply.
        quiet_seconds: without a reply, after which a run gives way to a new one of its owner that
            has no room else: its client's connection was cut, most likely.
        most_preparing: at once, of runs that prepare tickets, which hold many ciphertexts; shared
            by owners as all runs are.
        clock: seconds that never go back.
    """

    most: int = 64
    most_of_keys: int = 8
    seconds: float = 600.0
    quiet_seconds: float = 60.0
    most_preparing: int = 2
    clock: Callable[[], float] = time.monotonic
    _held: dict[RunName, _Held] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        self._expire()
        return len(self._held)

    def __contains__(self, name: RunName) -> bool:
        self._expire()
        return name in self._held

    def check_room(self, name: RunName, *, preparing: bool = False) -> None:
        """Refuse a run that may not begin.

        Args:
            name: of the run.
            preparing: whether it prepares tickets.

        Raises:
            WireError: there is one of that name.
            BusyError: too many are in progress, and none of the owner's has been quiet for long.
        """
        self._expire()
        if name in self._held:
            raise WireError(f"run {name.run} is in progress; a new text needs a new run")
        while True:
            same = [held for held in self._held if held[:2] == name[:2]]
            owned = [held for held in self._held if held.owner == name.owner]
            crowded = len(same) >= self.most_of_keys
            if not crowded and not share_exhausted(
                name.owner, len(owned), len(self._held), self.most
            ):
                taken = [held for held in self._held if self._held[held].preparing]
                owned = [held for held in taken if held.owner == name.owner]
                most = self.most_preparing
                if not preparing or not share_exhausted(name.owner, len(owned), len(taken), most):
                    return
            quietest = min(same if crowded else owned, key=self._touched, default=None)
            if quietest is None or self.clock() - self._touched(quietest) < self.quiet_seconds:
                raise BusyError(
                    f"{len(self._held)} runs are in progress, {len(same)} of them under these "
                    f"keys; finish one, or try again later"
                )
            self.drop(quietest)

    def put(self, name: RunName, run: Run, *, preparing: bool = False) -> None:
        """Keep a run that has just begun. Raises as :meth:`check_room`."""
        self.check_room(name, preparing=preparing)
        self._held[name] = _Held(run, self.clock(), preparing)

    def get(self, name: RunName) -> Run:
        """The run that a reply belongs to.

        Raises:
            ExpiredError: there is none: never begun, finished, or given up.
        """
        self._expire()
        held = self._held.get(name)
        if held is None:
            raise ExpiredError(
                f"there is no run {name.run} under these keys; a run is given up "
                f"{self.seconds:.0f} s after its last message: send the text again"
            )
        held.touched = self.clock()
        return held.run

    def touch(self, name: RunName) -> None:
        """Count a client's time from now: the server has just answered."""
        if name in self._held:
            self._held[name].touched = self.clock()

    def drop(self, name: RunName) -> bool:
        """Forget a run; whether there was one."""
        return self._held.pop(name, None) is not None

    def _touched(self, name: RunName) -> float:
        return self._held[name].touched

    def _expire(self) -> None:
        end = self.clock() - self.seconds
        for name in [name for name, held in self._held.items() if held.touched < end]:
            del self._held[name]
