"""The visitors of the page: each with keys of their own, kept in memory while they stay."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from thex_hf.client.exchange import Client
from thex_hf.demo.recording_transport import Wire
from thex_hf.demo.servers import Host

MOST_GUESTS = 8


@dataclass(eq=False)
class Guest:
    """One visitor: a client for each protocol and engine that was tried.

    Args:
        host: with the servers.
        name: owner of keys and runs; drawn, so that nobody guesses it.
        lock: held while a text of theirs is on its way.
    """

    host: Host
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    lock: threading.Lock = field(default_factory=threading.Lock)
    _clients: dict[tuple[str, str], tuple[Client, Wire]] = field(default_factory=dict, repr=False)

    def client(self, protocol: str, engine: str) -> tuple[Client, Wire]:
        """The client that speaks to that server, and its wire."""
        if (protocol, engine) not in self._clients:
            wire = Wire(self.host.desk(protocol, engine), self.name)
            self._clients[protocol, engine] = Client(wire, backend=engine, tries=2), wire
        return self._clients[protocol, engine]

    def key_bytes(self, protocol: str, engine: str) -> int:
        """Size of the evaluation keys that this server has of the visitor; 0 before any."""
        known = self._clients.get((protocol, engine))
        return known[1].key_bytes if known else 0


@dataclass(eq=False)
class Guests:
    """Visitors by their browser's session; the longest unseen one makes room for a new one."""

    host: Host
    most: int = MOST_GUESTS
    _held: OrderedDict[str, Guest] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self._held)

    def of(self, session: str) -> Guest:
        """The visitor of a session."""
        with self._lock:
            guest = self._held.setdefault(session, Guest(self.host))
            self._held.move_to_end(session)
            while len(self._held) > self.most:
                self._held.popitem(last=False)
            return guest

    def leave(self, session: str) -> None:
        """Forget a visitor, the secret keys with them."""
        with self._lock:
            self._held.pop(session, None)
