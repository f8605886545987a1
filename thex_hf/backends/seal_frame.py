"""SEAL's frame around an object, checked before SEAL opens it.

SEAL ignores what follows the announced end, so two different messages could mean the
same; here the frame must be whole and alone.

What cannot be checked here: SEAL expands compressed contents as it reads. A ciphertext's
size is fixed by its first fields, which SEAL checks before it reads on. Rotation keys
have no such bound: a few hundred bytes can expand to one key for each of N elements
(98 MB measured at N=1024, which makes about 10 GB at N=8192). A process that accepts keys
from strangers needs a memory limit from its operating system.
"""

from __future__ import annotations

import struct

from thex_hf.errors import WireError

# magic, header size, major, minor version, compression, reserved, size of all
_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC = 0xA15E
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
