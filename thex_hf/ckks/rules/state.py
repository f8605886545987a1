"""What the rules look at in a handle or plaintext, and how it travels between processes."""

from __future__ import annotations

import struct
from typing import Protocol


class State(Protocol):
    """The part of a handle that the rules look at."""

    @property
    def level(self) -> int:
        """Rescalings left."""
        ...

    @property
    def degree(self) -> int:
        """1, or 2 between a product and its rescale."""
        ...

    @property
    def size(self) -> int:
        """2, or 3 between a ciphertext product and its relinearisation."""
        ...


class PlaintextState(Protocol):
    """The part of an encoded plaintext that the rules look at."""

    @property
    def level(self) -> int:
        """Level it was encoded for."""
        ...

    @property
    def factor(self) -> bool:
        """Whether it is an operand of a product."""
        ...


_STATE = struct.Struct("<HBB")


def pack_state(a: State, contents: bytes) -> bytes:
    """Level, degree and size of ``a``, then ``contents``."""
    return _STATE.pack(a.level, a.degree, a.size) + contents


def unpack_state(data: bytes) -> tuple[int, int, int, bytes]:
    """Level, degree, size and contents of :func:`pack_state`."""
    level, degree, size = _STATE.unpack_from(data)
    return level, degree, size, data[_STATE.size :]
