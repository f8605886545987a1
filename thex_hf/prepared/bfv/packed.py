"""Residues of 60 bits in bytes: 15 half bytes each, where SEAL writes 16.

First come the seven low bytes of all words, then their top four bits, two words a byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import PlanError, WireError

_LOW_BYTES, _LOW_BITS = 7, 56
_MOST_BITS = 60


def packed_size(count: int) -> int:
    """Bytes of so many words; an even number."""
    return (2 * _LOW_BYTES + 1) * count // 2


def check_packable(primes: Sequence[int]) -> None:
    """Raises PlanError for primes of more than 60 bits."""
    if max(primes).bit_length() > _MOST_BITS:
        raise PlanError(f"packed residues take primes of up to {_MOST_BITS} bits, not {primes}")


def pack(words: Words) -> bytes:
    """The bytes of an even number of words below ``2**60``, of any shape."""
    flat = np.ascontiguousarray(words, "<u8").reshape(-1)
    lows = flat.view(np.uint8).reshape(-1, 8)[:, :_LOW_BYTES]
    tops = (flat >> np.uint64(_LOW_BITS)).astype(np.uint8)
    return lows.tobytes() + (tops[::2] | tops[1::2] << 4).tobytes()


def unpack(data: bytes, primes: Sequence[int], shape: tuple[int, ...], what: str) -> Words:
    """Words of a shape ``(..., primes, N)``, from :func:`packed_size` bytes.

    Raises:
        WireError: a word is not below its prime.
    """
    count = int(np.prod(shape))
    out = np.zeros((count, 8), np.uint8)
    lows = np.frombuffer(data, np.uint8, _LOW_BYTES * count)
    tops = np.frombuffer(data, np.uint8, count // 2, lows.size)
    out[:, :_LOW_BYTES] = lows.reshape(count, _LOW_BYTES)
    out[::2, _LOW_BYTES], out[1::2, _LOW_BYTES] = tops & 15, tops >> 4
    words: Words = out.view("<u8").reshape(shape).astype(np.uint64, copy=False)
    for limb, prime in enumerate(primes):
        if int(words[..., limb, :].max()) >= prime:
            raise WireError(f"{what} has numbers that are not below its primes")
    return words
