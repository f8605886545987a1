"""Messages between a process and its child; errors among them come back as what they were."""

from __future__ import annotations

import signal
import socket
import struct
import traceback
from typing import Any

from msgspec import Struct, ValidationError, convert, msgpack

from thex_hf import errors
from thex_hf.errors import ChildError, ThexError

_LENGTH = struct.Struct("<Q")


class Failure(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a child sends of an error: its kind, its text and where it came from."""

    kind: str
    text: str
    trace: str


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
        data = msgpack.encode(message)
        self._end.sendall(_LENGTH.pack(len(data)))
        self._end.sendall(data)

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other side is gone.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return msgpack.decode(self._read(length))

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


def error_to_message(error: Exception) -> Failure:
    """What a child sends of an error."""
    return Failure(type(error).__name__, str(error), "".join(traceback.format_exception(error)))


def error_from_message(message: Any, where: str = "") -> ThexError:
    """The error to raise for one that a child sent.

    Args:
        message: what came of :func:`error_to_message`.
        where: goes before the text, for example ``"text 3: "``.

    Returns:
        An error of the same class when it is one of :mod:`thex_hf.errors`, otherwise a
        :class:`ChildError` that names the class. The child's traceback is a note on it.
    """
    try:
        failure = convert(message, Failure)
    except ValidationError as problem:
        return ChildError(f"{where}a child process sent what is no error: {problem}")
    kind, text = getattr(errors, failure.kind, None), failure.text
    if not (isinstance(kind, type) and issubclass(kind, ThexError)):
        kind, text = ChildError, f"a child process raised {failure.kind}: {text}"
    error = kind(where + text)
    error.add_note(f"In a child process:\n{failure.trace}")
    return error


def describe_exit(status: int) -> str:
    """How a child ended, in words, from what ``waitpid`` says of it."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        name = f" ({signal.Signals(-status).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {-status}{name}"
