"""What a server sends: flooded until its first polynomial is uniform, and packed."""

from __future__ import annotations

import math

import numpy as np

from thex_hf.backends.numerics.integers import uniform_residues
from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.bfv.lazily import lowered
from thex_hf.prepared.bfv.packed import PackedFormat
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters


def cell(parameters: BfvParameters) -> int:
    """How many integers modulo the answer's modulus decrypt to one coefficient of a message."""
    return math.prod(parameters.primes[:REPLY_LIMBS]) // parameters.plain_modulus


class AnswerFormat:
    """Answers in bytes, ``(2, 2, N)`` words each; see :class:`.packed.PackedFormat`.

    Args:
        parameters: the BFV parameters.

    Raises:
        PlanError: the first two primes are too large for it.
    """

    def __init__(self, parameters: BfvParameters) -> None:
        shape = (2, REPLY_LIMBS, parameters.ring_degree)
        self._packed = PackedFormat("answer 2", parameters, shape)

    @property
    def size(self) -> int:
        """Bytes of an answer."""
        return self._packed.size

    def write(self, words: Words) -> bytes:
        """The bytes of a ciphertext."""
        return self._packed.write(words)

    def read(self, data: bytes) -> Words:
        """The words. Raises WireError when these bytes are no answer."""
        return self._packed.read(data)[0]


def flooded(words: Words, parameters: BfvParameters) -> Words:
    """``(2, N)`` residues plus those of integers uniform on one cell, about zero."""
    size = cell(parameters)
    drawn = uniform_residues(words.shape[1], size).astype(np.int64) - np.int64(size // 2)
    limbs = zip(words.view(np.int64), parameters.primes[:REPLY_LIMBS], strict=True)
    return np.stack([lowered(one + drawn, prime) for one, prime in limbs])
