"""A handle's state before its contents: what goes from process to process of one server.

Not a wire format. It crosses only between a process and its own forked child, is read by
the version that wrote it, and is not checked against malice.
"""

from __future__ import annotations

import struct

from thex_hf.layout.rules import State

_STATE = struct.Struct("<HBB")


def with_state(a: State, contents: bytes) -> bytes:
    """Level, degree and size of ``a``, then ``contents``."""
    return _STATE.pack(a.level, a.degree, a.size) + contents


def split_state(data: bytes) -> tuple[int, int, int, bytes]:
    """Level, degree, size and contents of :func:`with_state`."""
    level, degree, size = _STATE.unpack_from(data)
    return level, degree, size, data[_STATE.size :]
