"""What carries bytes between a client and a server."""

from __future__ import annotations

from typing import Any, Protocol


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
