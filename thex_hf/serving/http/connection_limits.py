"""Who is connected: how many, how many from one address, and who goes when somebody new comes.

Counted from the moment a connection is accepted, so before TLS and before a byte is read.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from thex_hf.serving.http.settings import Settings


class Caller(Protocol):
    """A connection that has got as far as HTTP."""

    @property
    def busy(self) -> bool:
        """Whether a request of it is being answered."""
        ...

    @property
    def known(self) -> bool:
        """Whether a request of it came with an owner's token."""
        ...


@dataclass(eq=False)
class Visit:
    """One connection.

    Args:
        link: its socket.
        address: where it comes from, without the port.
        since: when it came.
        caller: what speaks HTTP on it, once something does.
    """

    link: socket.socket
    address: str
    since: float
    caller: Caller | None = None

    @property
    def busy(self) -> bool:
        """Whether a request of it is being answered."""
        return self.caller is not None and self.caller.busy

    @property
    def rank(self) -> tuple[bool, float]:
        """Who goes first: strangers before owners, who has been here longest before others."""
        return (self.caller is not None and self.caller.known, self.since)


@dataclass(eq=False)
class Doors:
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
    _visits: list[Visit] = field(default_factory=list, repr=False)

    @property
    def open(self) -> int:
        """Connections."""
        return len(self._here())

    def admit(self, link: socket.socket, address: str) -> bool:
        """Take a new connection in; False if all others are at work."""
        here = self._here()
        same = [visit for visit in here if visit.address == address]
        full = (
            same if len(same) >= self.settings.connections_per_address
            else here if len(here) >= self.settings.connections
            else []
        )  # fmt: skip
        if full and not self._make_room(full):
            return False
        self._visits.append(Visit(link, address, self.clock()))
        return True

    def visit(self, descriptor: int) -> Visit | None:
        """The connection of a socket."""
        found = (visit for visit in self._visits if visit.link.fileno() == descriptor)
        return next(found, None)

    def _here(self) -> list[Visit]:
        self._visits = [visit for visit in self._visits if visit.link.fileno() >= 0]
        return self._visits

    def _make_room(self, visits: list[Visit]) -> bool:
        idle = [visit for visit in visits if not visit.busy]
        if not idle:
            return False
        first = min(idle, key=lambda visit: visit.rank)
        with suppress(OSError):
            first.link.shutdown(socket.SHUT_RDWR)  # its transport sees the end, and closes it
        self._visits.remove(first)
        self.shed += 1
        return True


class Listener(socket.socket):
    """A listening socket that hands out what its doors let in, one connection at a time.

    An event loop asks for all that wait before it goes on. It gets one, and is told that nobody
    else waits: so each new connection has its turn among those that are there, and a crowd at the
    door does not keep the loop from whoever is in.
    """

    doors: Doors
    _gave = False

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that gets in. Raises BlockingIOError after each, for a turn."""
        if self._gave:
            self._gave = False
            raise BlockingIOError
        link, address = super().accept()
        if not self.doors.admit(link, str(address[0])):
            link.close()
            raise BlockingIOError
        self._gave = True
        return link, address


def listen(host: str, port: int, doors: Doors) -> list[Listener]:
    """Sockets at every address of a host, all at one port.

    Args:
        host: name or address.
        port: 0 takes a free one.
        doors: of the connections.

    Raises:
        OSError: the address is no address, or taken.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[Listener] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = Listener(family, kind, protocol)
            listeners.append(listener)
            listener.doors = doors
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
