"""One connection: HTTP by uvicorn, with time-outs, JSON answers and an end that loses no byte."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from thex_hf.serving.http.connection_limits import ConnectionLimits, TrackedConnection

logger = logging.getLogger("thex_hf.serving.http")
REFUSED = {
    400: "this is no HTTP request; the service speaks HTTP/1.1",
    408: "the headers took too long; send them at once",
    431: "the headers are too long; the service takes few and short ones",
}
"""What is said of requests that no route sees."""


class Connection(H11Protocol):
    """HTTP/1.1 on one connection.

    The headers of a request come in ``head_seconds`` or not at all; an answer is taken within
    ``idle_seconds``, and more for each of its bytes; an answer that was given before all of its
    request was read ends the connection.

    Args:
        limits: of all connections, with the bounds.
        **options: of uvicorn.
    """

    def __init__(self, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(**options)
        self._limits, self._bounds = limits, limits.settings
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._tracked: TrackedConnection | None = None
        self.known = False

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to listen, for a while."""
        lingering = LingeringTransport(transport, self._bounds.linger_seconds, self._is_unread)
        super().connection_made(cast(asyncio.Transport, lingering))
        tcp = transport.get_extra_info("socket")
        self._tracked = None if tcp is None else self._limits.find(tcp.fileno())
        if self._tracked is not None:
            self._tracked.http = self
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        cast(LingeringTransport, self.transport).lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what comes after the end is dropped."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._stop_head()
        else:
            self._await_head()

    def on_response_complete(self) -> None:
        """Note who it was, and wait for the next request."""
        owner = self.cycle.scope["state"].get("owner")
        self.known = self.known or owner is not None
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._await_head()

    def pause_writing(self) -> None:
        """The other side takes its answer slowly: it has so much time for what is left."""
        super().pause_writing()
        left = self.transport.get_write_buffer_size()
        seconds = self._bounds.idle_seconds + left / self._bounds.body_rate
        self._send_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken it."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 cannot read, by the status that it proposes."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        self._refuse(status if status in REFUSED else 400)

    def _is_unread(self) -> bool:
        """Whether the other side may be in the middle of a request."""
        state = self.conn.their_state
        return state in (h11.SEND_BODY, h11.ERROR) or bool(self.conn.trailing_data[0])

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._bounds.head_seconds, self._on_late_head)

    def _stop_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_late_head(self) -> None:
        self._head_timer = None
        if self.conn.trailing_data[0]:
            self._refuse(408)
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Answer what no route sees, and end."""
        logger.info({"event": "refused", "status": status, "owner": None})
        kind = {408: "SlowError", 431: "TooLargeError"}.get(status, "WireError")
        body = json.dumps({"error": kind, "message": REFUSED[status]}).encode()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            reason = HTTPStatus(status).phrase.encode()
            response = h11.Response(status_code=status, headers=headers, reason=reason)
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.busy:  # in the middle of a body: whoever reads it sees that no more comes
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


class LingeringTransport:
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
        """Send no more; close when the other side has read it, or does not."""
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
