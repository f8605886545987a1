"""What a server sends: flooded until its first polynomial is uniform, and packed.

An answer has two primes of 60 bits. Its residues take 15 half bytes each: seven bytes, and four
bits of a byte that two of them share.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from thex_hf.backends.numerics.integers import uniform_residues
from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import PlanError, WireError
from thex_hf.prepared.bfv.lazily import lowered
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters

_LOW_BYTES, _LOW_BITS = 7, 56
_MOST_BITS = 60
_HEAD = 16  # bytes that name the parameters


def cell(parameters: BfvParameters) -> int:
    """How many integers modulo the answer's modulus decrypt to one coefficient of a message."""
    return math.prod(parameters.primes[:REPLY_LIMBS]) // parameters.plain_modulus


class AnswerFormat:
    """Answers in bytes: the name of the parameters, then the packed residues.

    Args:
        parameters: the BFV parameters.

    Raises:
        PlanError: the first two primes are too large for it.
    """

    def __init__(self, parameters: BfvParameters) -> None:
        name = f"thex_hf BFV answer 2 {parameters.to_json()}"
        self._head = hashlib.sha256(name.encode()).digest()[:_HEAD]
        self._shape = (2, REPLY_LIMBS, parameters.ring_degree)
        self._primes = parameters.primes[:REPLY_LIMBS]
        if max(self._primes).bit_length() > _MOST_BITS:
            raise PlanError(f"answers take primes of up to {_MOST_BITS} bits, not {parameters}")

    @property
    def size(self) -> int:
        """Bytes of an answer."""
        return _HEAD + (2 * _LOW_BYTES + 1) * math.prod(self._shape) // 2

    def write(self, words: Words) -> bytes:
        """The bytes of a ciphertext's ``(2, 2, N)`` words."""
        flat = np.ascontiguousarray(words, "<u8").reshape(-1)
        lows = flat.view(np.uint8).reshape(-1, 8)[:, :_LOW_BYTES]
        tops = (flat >> np.uint64(_LOW_BITS)).astype(np.uint8)
        return self._head + lows.tobytes() + (tops[::2] | tops[1::2] << 4).tobytes()

    def read(self, data: bytes) -> Words:
        """Words ``(2, 2, N)``. Raises WireError when these bytes are no answer."""
        if len(data) != self.size or data[:_HEAD] != self._head:
            raise WireError(
                f"{len(data)} bytes are no answer of {self.size} under the parameters in use; "
                f"check that both sides use the same plan"
            )
        count = math.prod(self._shape)
        out = np.zeros((count, 8), np.uint8)
        lows = np.frombuffer(data, np.uint8, _LOW_BYTES * count, _HEAD)
        tops = np.frombuffer(data, np.uint8, count // 2, _HEAD + lows.size)
        out[:, :_LOW_BYTES] = lows.reshape(count, _LOW_BYTES)
        out[::2, _LOW_BYTES], out[1::2, _LOW_BYTES] = tops & 15, tops >> 4
        words: Words = out.view("<u8").reshape(self._shape).astype(np.uint64)
        for limb, prime in enumerate(self._primes):
            if int(words[:, limb].max()) >= prime:
                raise WireError("an answer has numbers that are not below its primes")
        return words


def flooded(words: Words, parameters: BfvParameters) -> Words:
    """``(2, N)`` residues plus those of integers uniform on one cell, about zero."""
    size = cell(parameters)
    drawn = uniform_residues(words.shape[1], size).astype(np.int64) - np.int64(size // 2)
    limbs = zip(words.view(np.int64), parameters.primes[:REPLY_LIMBS], strict=True)
    return np.stack([lowered(one + drawn, prime) for one, prime in limbs])
