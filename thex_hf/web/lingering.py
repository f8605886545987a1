"""An end of a connection that does not cut off what was said last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Lingering:
    """A transport whose ``close`` gives the other side time to read the answer.

    A socket that is closed while bytes wait to be read resets the connection, and the answer to a
    request that was refused half way is lost. So the rest is read, for a while, and dropped. What
    the other side never takes is dropped too.

    Args:
        transport: the connection.
        seconds: that it lingers at most.
        unread: whether the other side may be in the middle of a request.
    """

    def __init__(
        self, transport: asyncio.Transport, seconds: float, unread: Callable[[], bool]
    ) -> None:
        self._transport, self._seconds, self._unread = transport, seconds, unread
        self._end: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is answered."""
        return self._end is not None or self._transport.is_closing()

    def close(self) -> None:
        """Say no more; close when the other side has read it, or does not."""
        if self.is_closing():
            return
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(self._seconds, self._transport.abort)
        if self._unread():
            try:
                if self._transport.can_write_eof():
                    self._transport.write_eof()
                self._transport.resume_reading()
            except OSError:  # the other side is gone already
                self._transport.abort()
        else:
            self._transport.close()

    def lost(self) -> None:
        """The connection is gone."""
        if self._end is not None:
            self._end.cancel()
