"""What a server sends: flooded until its first polynomial is uniform, and packed.

An answer has two primes of 60 bits.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from thex_hf.backends.numerics.integers import uniform_residues
from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import WireError
from thex_hf.prepared.bfv.lazily import lowered
from thex_hf.prepared.bfv.packed import check_packable, pack, packed_size, unpack
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters

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
        check_packable(self._primes)

    @property
    def size(self) -> int:
        """Bytes of an answer."""
        return _HEAD + packed_size(math.prod(self._shape))

    def write(self, words: Words) -> bytes:
        """The bytes of a ciphertext's ``(2, 2, N)`` words."""
        return self._head + pack(words)

    def read(self, data: bytes) -> Words:
        """Words ``(2, 2, N)``. Raises WireError when these bytes are no answer."""
        if len(data) != self.size or data[:_HEAD] != self._head:
            raise WireError(
                f"{len(data)} bytes are no answer of {self.size} under the parameters in use; "
                f"check that both sides use the same plan"
            )
        return unpack(data[_HEAD:], self._primes, self._shape, "an answer")


def flooded(words: Words, parameters: BfvParameters) -> Words:
    """``(2, N)`` residues plus those of integers uniform on one cell, about zero."""
    size = cell(parameters)
    drawn = uniform_residues(words.shape[1], size).astype(np.int64) - np.int64(size // 2)
    limbs = zip(words.view(np.int64), parameters.primes[:REPLY_LIMBS], strict=True)
    return np.stack([lowered(one + drawn, prime) for one, prime in limbs])
