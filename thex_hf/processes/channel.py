"""Messages between a process and its child: msgpack, each with its length before it."""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgpack

_LENGTH = struct.Struct("<Q")


class Channel:
    """One end of a connected pair of sockets."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two ends: what one sends the other receives."""
        one, two = socket.socketpair()
        return cls(one), cls(two)

    def fileno(self) -> int:
        """The descriptor, for selectors."""
        return self._end.fileno()

    def send(self, message: Any) -> None:
        """Send one message; waits while the other side does not read.

        Raises:
            OSError: the other side is gone.
        """
        data = msgpack.packb(message)
        self._end.sendall(_LENGTH.pack(len(data)))
        self._end.sendall(data)

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other side is gone.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return msgpack.unpackb(self._read(length))

    def close(self) -> None:
        """Close this end in this process."""
        self._end.close()

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            try:
                count = self._end.recv_into(view)
            except ConnectionError:
                count = 0
            if not count:
                raise EOFError("the other side of the channel is gone")
            view = view[count:]
        return data
