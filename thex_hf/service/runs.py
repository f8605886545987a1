"""Runs in progress: found by keys and run, bounded in number and in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from thex_hf.errors import BusyError, ExpiredError, WireError
from thex_hf.protocol.server import ServerRun


@dataclass
class _Held:
    run: ServerRun
    touched: float


@dataclass
class Runs:
    """Runs that wait for a client's reply.

    Args:
        most: at once, of all clients.
        most_of_keys: at once, of one key id.
        seconds: that a client may take for a reply.
        clock: seconds that never go back.
    """

    most: int = 64
    most_of_keys: int = 8
    seconds: float = 600.0
    clock: Callable[[], float] = time.monotonic
    _held: dict[tuple[str, str], _Held] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        self._drop_old()
        return len(self._held)

    def put(self, key_id: str, run_id: str, run: ServerRun) -> None:
        """Keep a run that has just begun.

        Raises:
            WireError: there is one of that id.
            BusyError: too many are in progress.
        """
        self._drop_old()
        if (key_id, run_id) in self._held:
            raise WireError(f"run {run_id} is in progress; a new text needs a new run")
        own = sum(key == key_id for key, _ in self._held)
        if len(self._held) >= self.most or own >= self.most_of_keys:
            raise BusyError(
                f"{len(self._held)} runs are in progress, {own} of them under these keys; "
                f"finish one, or try again later"
            )
        self._held[key_id, run_id] = _Held(run, self.clock())

    def get(self, key_id: str, run_id: str) -> ServerRun:
        """The run that a reply belongs to.

        Raises:
            ExpiredError: there is none: never begun, finished, or given up.
        """
        self._drop_old()
        held = self._held.get((key_id, run_id))
        if held is None:
            raise ExpiredError(
                f"there is no run {run_id} under keys {key_id}; a run is given up "
                f"{self.seconds:.0f} s after its last message: send the text again"
            )
        held.touched = self.clock()
        return held.run

    def drop(self, key_id: str, run_id: str) -> None:
        """Forget a run, whether there is one or not."""
        self._held.pop((key_id, run_id), None)

    def _drop_old(self) -> None:
        end = self.clock() - self.seconds
        for name in [name for name, held in self._held.items() if held.touched < end]:
            del self._held[name]
