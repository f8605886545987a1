"""Who is connected: how many, how many from one address, and who goes when somebody new comes.

Counted from the moment a connection is accepted, so before TLS and before a byte is read.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from socket import socket as Socket
from typing import Any, Protocol

from thex_hf.serving.http.settings import Settings


class HttpState(Protocol):
    """What the limits must know of a connection that has got as far as HTTP."""

    @property
    def busy(self) -> bool:
        """Whether a request of it is being answered."""
        ...

    @property
    def known(self) -> bool:
        """Whether a request of it came with an owner's token."""
        ...


@dataclass(eq=False)
class TrackedConnection:
    """One connection.

    Args:
        socket: of it.
        address: where it comes from, without the port.
        since: when it came.
        http: what speaks HTTP on it, once something does.
    """

    socket: Socket
    address: str
    since: float
    http: HttpState | None = None

    @property
    def busy(self) -> bool:
        """Whether a request of it is being answered."""
        return self.http is not None and self.http.busy

    @property
    def keep_rank(self) -> tuple[bool, float]:
        """The lowest goes first: without a token before owners, the oldest before others."""
        return (self.http is not None and self.http.known, self.since)


@dataclass(eq=False)
class ConnectionLimits:
    """Lets connections in, and the idle ones out when there are too many.

    A connection is idle unless a request of it, with all its headers, is being answered. Those are
    bounded elsewhere, so somebody new always gets in.

    Args:
        settings: how many there may be.
        clock: seconds that never go back.
    """

    settings: Settings
    clock: Callable[[], float] = time.monotonic
    shed: int = 0
    _connections: list[TrackedConnection] = field(default_factory=list, repr=False)

    @property
    def open(self) -> int:
        """Connections."""
        return len(self._alive())

    def admit(self, accepted: socket.socket, address: str) -> bool:
        """Take a new connection in; False if all others are at work."""
        alive = self._alive()
        same = [one for one in alive if one.address == address]
        full = (
            same if len(same) >= self.settings.connections_per_address
            else alive if len(alive) >= self.settings.connections
            else []
        )  # fmt: skip
        if full and not self._make_room(full):
            return False
        self._connections.append(TrackedConnection(accepted, address, self.clock()))
        return True

    def find(self, descriptor: int) -> TrackedConnection | None:
        """The connection of a socket."""
        matching = (one for one in self._connections if one.socket.fileno() == descriptor)
        return next(matching, None)

    def _alive(self) -> list[TrackedConnection]:
        self._connections = [one for one in self._connections if one.socket.fileno() >= 0]
        return self._connections

    def _make_room(self, candidates: list[TrackedConnection]) -> bool:
        idle = [one for one in candidates if not one.busy]
        if not idle:
            return False
        first = min(idle, key=lambda one: one.keep_rank)
        with suppress(OSError):
            first.socket.shutdown(socket.SHUT_RDWR)  # its transport sees the end, and closes it
        self._connections.remove(first)
        self.shed += 1
        return True


class Listener(socket.socket):
    """A listening socket that hands out what its limits admit, one connection at a time.

    An event loop asks for all that wait before it goes on. It gets one, and is told that nobody
    else waits: so each new connection has its turn among those that are there, and a crowd of
    new ones does not keep the loop from those that are open.
    """

    limits: ConnectionLimits
    _accepted_one = False

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that gets in. Raises BlockingIOError after each, for a turn."""
        if self._accepted_one:
            self._accepted_one = False
            raise BlockingIOError
        accepted, address = super().accept()
        if not self.limits.admit(accepted, str(address[0])):
            accepted.close()
            raise BlockingIOError
        self._accepted_one = True
        return accepted, address


def listen(host: str, port: int, limits: ConnectionLimits) -> list[Listener]:
    """Sockets at every address of a host, all at one port.

    Args:
        host: name or address.
        port: 0 takes a free one.
        limits: of the connections.

    Raises:
        OSError: the address is no address, or taken.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[Listener] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            listener = Listener(family, kind, protocol)
            listeners.append(listener)
            listener.limits = limits
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            first = listeners[0].getsockname()[1]
            listener.bind((address[0], first or address[1], *address[2:]))
            listener.setblocking(False)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners
