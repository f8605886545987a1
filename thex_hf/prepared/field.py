"""Fixed-point numbers modulo a prime, additively shared between two sides.

A number ``x`` stands for ``round(x * 2**bits)`` modulo ``t``; negative ones lie above ``t / 2``.
Two sides share it as ``x = hat + r``: the server holds ``hat``, the client ``r``, and either alone
is uniform.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thex_hf.backends.numerics.integers import uniform_residues
from thex_hf.backends.numerics.modular import Words
from thex_hf.backends.numerics.ntt import differences, products, sums
from thex_hf.errors import RangeError
from thex_hf.prepared.bfv.lazily import Weights
from thex_hf.prepared.bfv.products import batched, weighted

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]

WORD = 8
"""Bytes of a number on the wire and on disk."""


@dataclass(frozen=True)
class Field:
    """Arithmetic modulo a prime ``t`` of 40 to 60 bits; arrays are uint64 below ``t``."""

    prime: int

    @property
    def bits(self) -> int:
        """Bits of ``t``."""
        return self.prime.bit_length()

    def add(self, a: Words, b: Words) -> Words:
        """``a + b``."""
        return sums(a, b, self.prime)

    def subtract(self, a: Words, b: Words) -> Words:
        """``a - b``."""
        return differences(a, b, self.prime)

    def negative(self, a: Words) -> Words:
        """``-a``."""
        return differences(np.zeros_like(a), a, self.prime)

    def multiply(self, a: Words, b: Words) -> Words:
        """``a * b``, element by element."""
        return products(a, b, self.prime)

    def matmul(self, a: Words, b: Words) -> Words:
        """``a @ b``, with leading axes as numpy's."""
        return batched(a.view(np.int64), b.view(np.int64), self.prime)

    def weigh(self, weights: Weights, x: Words) -> Words:
        """``x @ weights.T`` for integer weights ``(o, k)`` below 2**15 and ``x`` ``(..., k)``."""
        flat = x.reshape(-1, x.shape[-1])
        out: Words = weighted(weights, flat.T, self.prime).T
        return out.reshape(*x.shape[:-1], len(weights))

    def of(self, integers: Integers) -> Words:
        """Signed integers modulo ``t``."""
        return np.mod(integers, np.int64(self.prime)).astype(np.uint64)

    def centred(self, a: Words) -> Integers:
        """The signed integers of least size."""
        signed = a.astype(np.int64)
        return np.where(signed > self.prime // 2, signed - self.prime, signed)

    def encode(self, values: Reals, bits: int) -> Words:
        """Numbers with ``bits`` after the binary point, rounded to the nearest.

        Raises:
            RangeError: one does not fit half of ``t``.
        """
        scaled = np.rint(np.asarray(values, np.float64) * 2.0**bits)
        if not np.isfinite(scaled).all() or np.abs(scaled).max(initial=0.0) >= self.prime / 2:
            raise RangeError(
                f"numbers should stay below 2**{self.bits - 1 - bits} to be carried with {bits} "
                f"bits after the point, and one of {np.abs(values).max():.3g} came"
            )
        return self.of(scaled.astype(np.int64))

    def decode(self, a: Words, bits: int) -> Reals:
        """The numbers that :meth:`encode` rounded."""
        return self.centred(a).astype(np.float64) / 2.0**bits

    def truncate_hat(self, hat: Words, bits: int) -> Words:
        """The server's share of ``x / 2**bits``; see :meth:`truncate_mask`."""
        return hat >> np.uint64(bits)

    def truncate_mask(self, r: Words, bits: int) -> Words:
        """The client's share of ``x / 2**bits``.

        Both halves together give ``x / 2**bits`` rounded down or up, up with the probability of
        the fraction that is cut off (Mohassel and Zhang 2017, theorem 1), except where ``hat + r``
        wraps around ``t``: with probability ``abs(x) / t`` the result is off by ``t / 2**bits``.
        """
        return self.negative(self.negative(r) >> np.uint64(bits))

    def uniform(self, shape: Sequence[int]) -> Words:
        """Uniform numbers, from the operating system."""
        return uniform_residues(int(np.prod(shape)), self.prime).reshape(shape)

    def stream(self, seed: bytes, label: str, shape: Sequence[int]) -> Words:
        """Uniform numbers that ``seed`` and ``label`` determine (SHAKE-256, rejection).

        Args:
            seed: 32 secret bytes.
            label: of what they are for; never twice under one seed.
            shape: of the result.
        """
        count = int(np.prod(shape))
        mask = np.uint64((1 << self.bits) - 1)
        spare = 8 if self.prime > (1 << self.bits) - (1 << (self.bits - 20)) else count + 64
        drawn = np.empty(0, np.uint64)
        while drawn.size < count:
            source = hashlib.shake_256(len(seed).to_bytes(1, "big") + seed + label.encode())
            words = np.frombuffer(source.digest(8 * (count + spare)), "<u8") & mask
            drawn, spare = words[words < self.prime], 2 * spare
        return drawn[:count].reshape(shape)


MOST_WEIGHT_BITS = 15
"""Bits of a weight as an integer, without its sign."""
