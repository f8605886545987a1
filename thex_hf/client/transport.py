"""What carries bytes between a client and a server."""

from __future__ import annotations

from typing import Any, Protocol

from thex_hf.backends.base import EvaluationKeys


class Transport(Protocol):
    """A server as a client sees it, near or far."""

    def info(self) -> dict[str, Any]:
        """Backend, protocol, and the plan of each bucket, as JSON values."""
        ...

    def has_keys(self, key_id: str) -> bool:
        """Whether the server has these evaluation keys."""
        ...

    def take_keys(self, key_set: str, evaluation: EvaluationKeys) -> None:
        """Hand evaluation keys over, once."""
        ...

    def answer(self, data: bytes) -> bytes:
        """Send a message and wait for the one that answers it."""
        ...
