"""The client's public key, which a server accepts only with a seed in place of its second half.

``rerandomise`` adds ``v`` times the second half, a fresh short ``v``, to the second polynomial of
what leaves. That hides it only if nobody chose that half: a client whose half is zero, or has a
short inverse, could take the product off again and read what the weights made of its own
ciphertexts. Expanded from a seed it is what the library's extendable hash says, whatever the
client wants.
"""

from __future__ import annotations

import ctypes
import struct
import zlib
from typing import Any

from thex_hf.backends.seal.context import SealContext
from thex_hf.backends.seal.residues import inflater
from thex_hf.errors import WireError

_HEADER = 16
_COMPRESSION = 5
_COUNT = struct.Struct("<Q")
_AT = 89  # of the number of words, after level, form, sizes, scale and a header of their own


def load_public(seal: SealContext, data: bytes) -> Any:
    """SEAL's public key in ``data``.

    Where nothing can decompress (see :func:`.seal_words.inflater`) the seed is not checked.

    Raises:
        WireError: damaged, of other parameters, or with a second half that is written out.
    """
    public = seal.load("PublicKey", data, limit=seal.public_limit())
    one_half = (len(seal.primes) + 1) * seal.parameters.ring_degree
    head = _start(data, seal.public_limit())
    if head is not None and _COUNT.unpack_from(head, _AT)[0] != one_half:
        raise WireError(
            "the second half of the public key is written out, not a seed: a client that chose "
            "it could undo what hides the server's replies; make the keys with this package"
        )
    return public


def _start(data: bytes, limit: int) -> bytes | None:
    """The first fields of a frame that SEAL has read, or None where they cannot be had."""
    contents, compression = data[_HEADER:], data[_COMPRESSION]
    if compression == 0:
        return contents[: _AT + _COUNT.size]
    if compression == 1:
        return zlib.decompressobj().decompress(contents, _AT + _COUNT.size)
    inflate = inflater()
    if inflate is None:
        return None
    raw = bytearray(limit)
    target = (ctypes.c_char * limit).from_buffer(raw)
    size = inflate(target, limit, contents, len(contents))
    if not _AT + _COUNT.size <= size <= limit:
        raise WireError(f"PublicKey: {size} bytes after decompression, at most {limit} belong")
    return bytes(raw[: _AT + _COUNT.size])
