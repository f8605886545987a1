"""What a client sends: fresh ciphertexts, one polynomial packed, the other as SEAL's seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from thex_hf.backends.seal.residues import CIPHERTEXT_FIELDS, inflated
from thex_hf.backends.seal.serialisation import HEADER_SIZE, frame, to_bytes
from thex_hf.errors import PlanError
from thex_hf.prepared.bfv.context import BfvContext
from thex_hf.prepared.bfv.packed import PackedFormat

_SEED = 64
_BLAKE2 = bytes([1])  # SEAL's number of the generator that stretches a seed


class InputFormat:
    """Fresh ciphertexts in bytes, a seed behind the words; see :class:`.packed.PackedFormat`.

    All else that SEAL writes is the same in each and is put back by who reads.

    Args:
        context: of both sides.
        sample: any ciphertext with all primes in coefficient form, for what SEAL writes about it.

    Raises:
        PlanError: a prime is too large, or this SEAL writes ciphertexts in an unknown way.
    """

    def __init__(self, context: BfvContext, sample: Any) -> None:
        parameters = context.parameters
        shape = (len(parameters.primes), parameters.ring_degree)
        self._packed = PackedFormat("input 1", parameters, shape, _SEED)
        self._count = math.prod(shape)
        self._words = 8 * self._count
        saved = to_bytes(sample.save)
        self._like = saved[:HEADER_SIZE]
        whole = inflated(saved, CIPHERTEXT_FIELDS.size + 2 * self._words)
        head = CIPHERTEXT_FIELDS.unpack_from(whole)
        inner = frame(bytes(8 + self._words), like=self._like)[:HEADER_SIZE]
        self._head = CIPHERTEXT_FIELDS.pack(*head[:-2], inner, self._count)

    def write(self, saved: bytes) -> bytes:
        """The bytes of what SEAL has saved of a symmetric encryption.

        Raises:
            PlanError: it holds something that cannot be put back.
        """
        seeded = len(self._frame_of_seed(bytes(_SEED)))
        contents = bytes(inflated(saved, len(self._head) + self._words + seeded))
        words = np.frombuffer(contents, "<u8", self._count, len(self._head))
        seed = contents[-_SEED:]
        if contents != self._head + words.tobytes() + self._frame_of_seed(seed):
            raise PlanError("this SEAL writes seeded ciphertexts in another way than we know")
        return self._packed.write(words, seed)

    def read(self, data: bytes) -> bytes:
        """The frame that SEAL can load.

        Raises:
            WireError: these bytes are no input of these parameters.
        """
        words, seed = self._packed.read(data)
        contents = self._head + words.tobytes() + self._frame_of_seed(seed)
        return frame(contents, like=self._like)

    def _frame_of_seed(self, seed: bytes) -> bytes:
        return frame(_BLAKE2 + seed, like=self._like)
