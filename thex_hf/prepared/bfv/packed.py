"""Ciphertexts in bytes: the name of the parameters, residues of 60 bits each, what goes with them.

A word takes 15 half bytes, where SEAL writes 16. First come the seven low bytes of all words, then
their top four bits, two words a byte.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import PlanError, WireError
from thex_hf.prepared.bfv.parameters import BfvParameters

_NAME = 16  # bytes that name the parameters
_LOW_BYTES, _LOW_BITS = 7, 56
_MOST_BITS = 60


class PackedFormat:
    """Words of one shape, and bytes behind them.

    Args:
        what: that is written, with a number of the format: ``"answer 2"``.
        parameters: the BFV parameters.
        shape: of the words, ``(..., primes, N)``: an even number of them, modulo the first primes.
        tail: how many bytes go with them.

    Raises:
        PlanError: a prime of more than 60 bits.
    """

    def __init__(
        self, what: str, parameters: BfvParameters, shape: tuple[int, ...], tail: int = 0
    ) -> None:
        name = f"thex_hf BFV {what} {parameters.to_json()}"
        self._what = what.split()[0]
        self._name = hashlib.sha256(name.encode()).digest()[:_NAME]
        self._primes, self._shape = parameters.primes[: shape[-2]], shape
        self._count, self._tail = math.prod(shape), tail
        if max(self._primes).bit_length() > _MOST_BITS:
            raise PlanError(f"{what} takes primes of up to {_MOST_BITS} bits, not {parameters}")

    @property
    def size(self) -> int:
        """Bytes of all."""
        return _NAME + (2 * _LOW_BYTES + 1) * self._count // 2 + self._tail

    def write(self, words: Words, tail: bytes = b"") -> bytes:
        """The bytes of words below their primes."""
        flat = np.ascontiguousarray(words, "<u8").reshape(-1)
        lows = flat.view(np.uint8).reshape(-1, 8)[:, :_LOW_BYTES]
        tops = (flat >> np.uint64(_LOW_BITS)).astype(np.uint8)
        return self._name + lows.tobytes() + (tops[::2] | tops[1::2] << 4).tobytes() + tail

    def read(self, data: bytes) -> tuple[Words, bytes]:
        """The words, and the bytes behind them.

        Raises:
            WireError: these bytes are none of these parameters, or a word is not below its prime.
        """
        if len(data) != self.size or data[:_NAME] != self._name:
            raise WireError(
                f"{len(data)} bytes are no {self._what} of {self.size} under the parameters in "
                f"use; check that both sides use the same plan and version of the package"
            )
        count = self._count
        out = np.zeros((count, 8), np.uint8)
        lows = np.frombuffer(data, np.uint8, _LOW_BYTES * count, _NAME)
        tops = np.frombuffer(data, np.uint8, count // 2, _NAME + lows.size)
        out[:, :_LOW_BYTES] = lows.reshape(count, _LOW_BYTES)
        out[::2, _LOW_BYTES], out[1::2, _LOW_BYTES] = tops & 15, tops >> 4
        words: Words = out.view("<u8").reshape(self._shape).astype(np.uint64, copy=False)
        for limb, prime in enumerate(self._primes):
            if int(words[..., limb, :].max()) >= prime:
                raise WireError(f"an {self._what} has numbers that are not below its primes")
        return words, data[self.size - self._tail :]
