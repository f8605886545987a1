"""Those who attack a service in :mod:`siege`: strangers without a token, and one owner with one.

Each is called again and again in a thread of its own; a call is so many hostile messages, says how
they were answered, and raises nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Attack = Callable[[], "Counter[str]"]
RUN = f"Thex-Keys: {'0' * 64}\r\nThex-Run: {'0' * 32}\r\n"


@dataclass
class Besieger:
    """One attacker.

    Args:
        url: of the service.
        token: of an owner; none for strangers.
        address: that they come from, on this machine.
        seed: of what it draws.
    """

    url: str
    token: str
    seed: int = 0
    address: str = ""
    _held: list[socket.socket] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        """Draw from the seed."""
        self._random = random.Random(self.seed)
        self._number: Iterator[int] = itertools.count()

    def attacks(self) -> dict[str, Attack]:
        """All attacks by name."""
        return {
            "headers that do not end": self.slow_headers,
            "bodies that do not end, of strangers": lambda: self.slow_bodies(""),
            "bodies that do not end, of an owner": lambda: self.slow_bodies(self.token),
            "bodies too large, of strangers": lambda: self.large_body(""),
            "bodies too large, of an owner": lambda: self.large_body(self.token),
            "announcements of one byte": self.announcement,
            "no HTTP": self.garbage,
            "answers that nobody takes": self.untaken,
        }

    def slow_headers(self) -> Counter[str]:
        """Sixteen more connections with half a header each, of 200 that are held."""
        return self._hold(16, 200, b"GET /hea")

    def slow_bodies(self, token: str) -> Counter[str]:
        """Eight more requests with one byte of a body each, of 64 that are held."""
        return self._hold(8, 64, self._head("/predict", "Content-Length: 1000", token) + b"x")

    def untaken(self) -> Counter[str]:
        """Ask a hundred times on one connection, and read nothing."""
        return self._hold(1, 16, b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n" * 100, each=100)

    def large_body(self, token: str) -> Counter[str]:
        """Announce 700 MB and send a few."""
        path = self._random.choice(("/keys", "/predict", "/nothing", "/keys/" + "1" * 64))
        method = "PUT" if path.endswith("1") else "POST"
        length = self._random.choice(("Content-Length: 700000000", "Transfer-Encoding: chunked"))
        head = self._head(f"{path}?offset=0", length, token, method)
        body = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        return self._say(head, body * 4)

    def announcement(self) -> Counter[str]:
        """Announce a key file of one byte."""
        name = hashlib.sha256(b"%d" % next(self._number)).hexdigest()
        body = b'{"name":"%s","size":1}' % name.encode()
        return self._say(self._head("/keys", f"Content-Length: {len(body)}", self.token) + body)

    def garbage(self) -> Counter[str]:
        """Bytes that are no HTTP, or nearly none."""
        head = self._head("/predict", "Content-Length: 9", self._random.choice(("", self.token)))
        where = self._random.randrange(len(head))
        noise = self._random.randbytes(self._random.choice((1, 20, 3000)))
        return self._say(head[:where] + noise + head[where:])

    def end(self) -> None:
        """Let go of what is held."""
        for link in self._held:
            link.close()

    def _connect(self) -> socket.socket:
        parts = urlsplit(self.url)
        place = (str(parts.hostname), int(parts.port or 0))
        source = (self.address, 0) if self.address else None
        return socket.create_connection(place, timeout=20, source_address=source)

    def _head(self, path: str, length: str, token: str, method: str = "POST") -> bytes:
        own = f"Authorization: Bearer {token}\r\n" if token else ""
        return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{own}{RUN}{length}\r\n\r\n".encode()

    def _hold(self, more: int, most: int, data: bytes, each: int = 1) -> Counter[str]:
        found: Counter[str] = Counter()
        for _ in range(more):
            try:
                link = self._connect()
                link.settimeout(0.2)
                link.sendall(data)
                self._held.append(link)
                found["held"] += each
            except OSError:
                found["cut off"] += each
        for link in self._held[: max(0, len(self._held) - most)]:
            link.close()
        del self._held[: max(0, len(self._held) - most)]
        time.sleep(0.2)
        return found

    def _say(self, data: bytes, more: bytes = b"") -> Counter[str]:
        try:
            with self._connect() as link:
                link.sendall(data)
                with suppress(OSError):
                    link.sendall(more)
                with suppress(OSError):
                    link.shutdown(socket.SHUT_WR) if not more else None
                answer = link.recv(4096)
        except OSError as error:
            return Counter({type(error).__name__: 1})
        return Counter({answer[9:12].decode("latin-1") or "closed": 1})


def stand_back() -> None:
    """Take less of this machine's time: attackers have machines of their own elsewhere."""
    os.nice(10)
