"""What carries bytes between a client and a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from thex_hf.backends.base import EvaluationKeys
from thex_hf.client.plans import Plans
from thex_hf.prepared.plan import AnyPlan


class Transport(Protocol):
    """A server as a client sees it, near or far. Any thread may call it."""

    def info(self) -> dict[str, Any]:
        """Backend, protocol, and the plan of each bucket, as JSON values."""
        ...

    def send_keys(self, data: bytes) -> str:
        """Hand a key file of evaluation keys over, where the server has not got it; its name.

        Raises:
            ThexError: as the server says.
            ConnectionLost: it cannot be reached.
        """
        ...

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """Send a message and wait for the one that answers it.

        Args:
            data: the message.
            keys: name of the key file.
            run: that the message is of.

        Raises:
            ThexError: as the server says.
            ConnectionLost: it cannot be reached, or went away.
        """
        ...

    def give_up(self, keys: str, run: str) -> None:
        """Tell the server that a run will not be finished; never raises."""
        ...


@runtime_checkable
class InMemory(Transport, Protocol):
    """A server in the same process: what need not be bytes is handed over as it is.

    Messages are bytes here too, so that nothing crosses that could not cross a wire.
    """

    @property
    def plans(self) -> Plans:
        """The server's plans, made when asked for."""
        ...

    def hand_over(self, plan: AnyPlan, keys: EvaluationKeys) -> str:
        """Give the server evaluation keys; their name. Raises as :meth:`Transport.send_keys`."""
        ...

    def prepare(self, plan: AnyPlan, keys: str) -> float:
        """Have the plan's weights encoded; the seconds it took, 0 if that was done before."""
        ...

    def beside(self) -> InMemory:
        """The same server for another thread: with runs of its own, the same keys and tickets."""
        ...

    def note_jobs(self, batch: bytes, jobs: Sequence[int]) -> None:
        """Tell of jobs of a batch of tickets that were run by forked copies of the server."""
        ...
