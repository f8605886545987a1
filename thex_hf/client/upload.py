"""Sending a key file in pieces, whatever carries them."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from typing import Any

from thex_hf._progress import progress
from thex_hf.errors import ChildError, ConnectionLost, KeyMismatch, KeyStoreError, WireError

LOST = (ConnectionLost, ChildError, KeyStoreError, KeyMismatch)
"""What a key file is begun again for: the server was away, or lost what it had of the file."""


class Pieces(ABC):
    """Sends what the other side has not got, and goes on after a break."""

    patience: float
    piece: int

    @abstractmethod
    def _begin(self, name: str, size: int) -> dict[str, Any]:
        """Announce a file; how much of it is there."""

    @abstractmethod
    def _write(self, name: str, offset: int, data: bytes) -> dict[str, Any]:
        """Send a piece; how much is there now."""

    def send_keys(self, data: bytes) -> str:
        """Send what is missing of a key file; its name. See :class:`Transport`."""
        name, size = hashlib.sha256(data).hexdigest(), len(data)
        end = time.monotonic() + self.patience
        with progress(size, "sending keys") as bar:
            while True:
                try:
                    state = self._begin(name, size)
                    while not state.get("complete"):
                        start = _count(state, size)
                        bar.update(start - bar.n)
                        state = self._write(name, start, data[start : start + self.piece])
                except LOST:
                    if time.monotonic() > end:
                        raise
                    time.sleep(1.0)
                else:
                    return name


def _count(state: dict[str, Any], size: int) -> int:
    start = state.get("received")
    if type(start) is not int or not 0 <= start < size:
        raise WireError(f"the server says that {repr(start)[:40]} of {size} bytes are there")
    return start
