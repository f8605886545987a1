"""Bytes in and out of SEAL, whose Python binding reads and writes file paths only.

On Linux the "file" is anonymous memory (``memfd_create``); elsewhere it lies in a
private directory for as long as the call lasts.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from thex_hf.errors import WireError

_FOLDER_OF_DESCRIPTORS = "/proc/self/fd"


def has_memory_files() -> bool:
    """Whether anonymous in-memory files can be had here and opened by path."""
    return hasattr(os, "memfd_create") and os.path.isdir(_FOLDER_OF_DESCRIPTORS)


@contextmanager
def _memory_file() -> Iterator[str]:
    descriptor = os.memfd_create("thex_hf", os.MFD_CLOEXEC)
    try:
        yield f"{_FOLDER_OF_DESCRIPTORS}/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def _private_file() -> Iterator[str]:
    # mkdtemp makes the directory readable by its owner alone
    with tempfile.TemporaryDirectory(prefix="thex_hf-") as directory:
        yield os.path.join(directory, "frame")


def _file() -> AbstractContextManager[str]:
    return _memory_file() if has_memory_files() else _private_file()


def to_bytes(save: Callable[[str], None]) -> bytes:
    """What ``save(path)`` writes."""
    with _file() as path:
        save(path)
        with open(path, "rb") as file:
            return file.read()


def from_bytes(load: Callable[[str], None], data: bytes, *, what: str, limit: int) -> None:
    """Call ``load(path)`` on a file that holds ``data``.

    Args:
        load: a SEAL ``load`` with its object and context bound.
        data: one SEAL frame, nothing before or after it.
        what: for the message, for example ``"ciphertext"``.
        limit: the most bytes such an object can have, uncompressed.

    Raises:
        WireError: not one whole frame, too large, or SEAL refuses what is in it.
    """
    check_frame(data, what=what, limit=limit)
    with _file() as path:
        with open(path, "wb") as file:
            file.write(data)
        try:
            load(path)
        except Exception as error:  # the binding raises several kinds, all for bad bytes
            raise WireError(
                f"these bytes are not a {what} of the parameters in use "
                f"({error}); check that both sides use the same plan"
            ) from None


# magic, header size, major, minor version, compression, reserved, size of all
_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC = 0xA15E
HEADER_SIZE = _HEADER.size
_COMPRESSIONS = (0, 1, 2)  # none, zlib, zstd


def frame(contents: bytes, *, like: bytes) -> bytes:
    """``contents`` in an uncompressed frame, for objects that are written field by field.

    Args:
        contents: the fields.
        like: a frame that the library in use has saved, for its version.
    """
    _, _, major, minor, *_ = _HEADER.unpack_from(like)
    size = _HEADER.size + len(contents)
    return _HEADER.pack(_MAGIC, _HEADER.size, major, minor, 0, 0, size) + contents


def check_frame(data: bytes, *, what: str, limit: int) -> None:
    """Refuse bytes that are not exactly one SEAL frame of ``limit`` bytes at most.

    Args:
        data: the bytes from the other side.
        what: what they should be, for the message.
        limit: bytes of the largest such object, uncompressed.

    Raises:
        WireError: cut, extended, not SEAL's, too large, or of unknown compression.
    """
    if len(data) > limit:
        raise WireError(f"{what}: {len(data)} bytes came, but it has at most {limit}")
    if len(data) < _HEADER.size:
        raise WireError(f"{what}: {len(data)} bytes came, shorter than a SEAL header")
    magic, header, _, _, compression, reserved, size = _HEADER.unpack_from(data)
    if (magic, header, reserved) != (_MAGIC, _HEADER.size, 0):
        raise WireError(f"{what}: the bytes do not start with a SEAL header")
    if size != len(data):
        raise WireError(f"{what}: {size} bytes announced but {len(data)} came: cut or extended")
    if compression not in _COMPRESSIONS:
        raise WireError(f"{what}: unknown compression {compression}, expected 0, 1 or 2")
