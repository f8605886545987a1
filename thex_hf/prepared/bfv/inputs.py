"""What a client sends: fresh ciphertexts, one polynomial packed, the other as SEAL's seed."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from thex_hf.backends.seal.residues import CIPHERTEXT_FIELDS, inflated
from thex_hf.backends.seal.serialisation import HEADER_SIZE, frame, to_bytes
from thex_hf.errors import PlanError, WireError
from thex_hf.prepared.bfv.context import BfvContext
from thex_hf.prepared.bfv.packed import check_packable, pack, packed_size, unpack

_NAME = 16  # bytes that name the parameters
_SEED = 64
_BLAKE2 = bytes([1])  # SEAL's number of the generator that stretches a seed


class InputFormat:
    """Fresh ciphertexts in bytes: the name of the parameters, the packed residues, the seed.

    All else that SEAL writes is the same in each and is put back by who reads.

    Args:
        context: of both sides.
        sample: any ciphertext with all primes in coefficient form, for what SEAL writes about it.

    Raises:
        PlanError: a prime is too large, or this SEAL writes ciphertexts in an unknown way.
    """

    def __init__(self, context: BfvContext, sample: Any) -> None:
        primes, degree = context.seal.primes, context.parameters.ring_degree
        check_packable(primes)
        name = f"thex_hf BFV input 1 {context.parameters.to_json()}"
        self._name = hashlib.sha256(name.encode()).digest()[:_NAME]
        self._primes, self._shape = primes, (len(primes), degree)
        self._words = 8 * math.prod(self._shape)
        saved = to_bytes(sample.save)
        self._like = saved[:HEADER_SIZE]
        whole = inflated(saved, CIPHERTEXT_FIELDS.size + 2 * self._words)
        head, count = CIPHERTEXT_FIELDS.unpack_from(whole), math.prod(self._shape)
        inner = frame(bytes(8 + self._words), like=self._like)[:HEADER_SIZE]
        self._head = CIPHERTEXT_FIELDS.pack(*head[:-2], inner, count)

    @property
    def size(self) -> int:
        """Bytes of an input."""
        return _NAME + packed_size(math.prod(self._shape)) + _SEED

    def write(self, saved: bytes) -> bytes:
        """The bytes of what SEAL has saved of a symmetric encryption.

        Raises:
            PlanError: it holds something that cannot be put back.
        """
        seeded = len(self._frame_of_seed(bytes(_SEED)))
        contents = bytes(inflated(saved, len(self._head) + self._words + seeded))
        words = np.frombuffer(contents, "<u8", math.prod(self._shape), len(self._head))
        seed = contents[-_SEED:]
        if contents != self._head + words.tobytes() + self._frame_of_seed(seed):
            raise PlanError("this SEAL writes seeded ciphertexts in another way than we know")
        return self._name + pack(words) + seed

    def read(self, data: bytes) -> bytes:
        """The frame that SEAL can load.

        Raises:
            WireError: these bytes are no input of these parameters.
        """
        if len(data) != self.size or data[:_NAME] != self._name:
            raise WireError(
                f"{len(data)} bytes are no ciphertext of {self.size} under the parameters in use; "
                f"check that both sides use the same plan and version of the package"
            )
        words = unpack(data[_NAME:-_SEED], self._primes, self._shape, "a ciphertext")
        contents = self._head + words.tobytes() + self._frame_of_seed(data[-_SEED:])
        return frame(contents, like=self._like)

    def _frame_of_seed(self, seed: bytes) -> bytes:
        return frame(_BLAKE2 + seed, like=self._like)
