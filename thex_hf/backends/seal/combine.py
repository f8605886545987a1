"""Sums of SEAL ciphertexts times numbers, as matrix products of their raw residues.

SEAL multiplies a ciphertext by a number word by word, and so a matrix of numbers costs
outputs times inputs such passes. But on the residues it *is* a matrix product, and those
are what processors do best. A constant ``a + ib`` is the polynomial ``a + b x**(N/2)``, which
in NTT form is ``a + bI`` in the first half of each residue polynomial and ``a - bI`` in the
second, ``I`` a root of -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thex_hf.backends.numerics.modular import (
    MOST_TERMS,
    Words,
    matmul,
    products_are_exact,
    reduce,
    residues,
    times,
)
from thex_hf.backends.seal.codec import SealCodec
from thex_hf.backends.seal.context import SealContext
from thex_hf.backends.seal.residues import CiphertextFormat, inflater
from thex_hf.ckks.engine import AnyVector
from thex_hf.errors import PlanError

WeightParts: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
_OUTPUTS_AT_A_TIME = 160  # outputs made at a time


class ResidueCombiner:
    """Combines ciphertexts. Holds no key."""

    def __init__(self, seal: SealContext) -> None:
        self._seal = seal
        self._codec = SealCodec(seal)
        self._roots: dict[int, list[int]] = {}

    @property
    def usable(self) -> bool:
        """Whether residues can be read here at all, and their products are exact."""
        return inflater() is not None and products_are_exact()

    def combine(
        self, ciphertexts: list[Any], level: int, weights: AnyVector, bias: AnyVector
    ) -> Iterator[Any]:
        """``bias + weights @ ciphertexts`` at scale ``nominal * prime``, not yet rescaled.

        Args:
            ciphertexts: n of two parts in NTT form at ``level``.
            level: theirs.
            weights: ``(m, n)`` numbers.
            bias: ``(m,)`` numbers.

        Yields the m sums; their scale is for the caller to set.

        Raises:
            PlanError: weights too large for the machine, or too many inputs.
        """
        if len(ciphertexts) > MOST_TERMS:
            raise PlanError(f"combine takes {MOST_TERMS} handles at most, got {len(ciphertexts)}")
        form = CiphertextFormat(self._seal, level + 1, ciphertexts[0])
        words = np.empty((len(ciphertexts), *form.shape), np.uint64)
        for row, ciphertext in zip(words, ciphertexts, strict=True):
            row[:] = form.read(ciphertext)
        real, imaginary = _integers(weights, float(self._seal.primes[level]))
        real[~(real.any(axis=1) | imaginary.any(axis=1)), 0] = 1  # zeros would be transparent
        for start in range(0, len(bias), _OUTPUTS_AT_A_TIME):
            rows = slice(start, start + _OUTPUTS_AT_A_TIME)
            for total in self._sums(words, level, (real[rows], imaginary[rows]), bias[rows]):
                yield form.write(total)

    def _sums(self, words: Words, level: int, factors: WeightParts, bias: AnyVector) -> Words:
        """``(outputs, 2, limbs, N)`` words."""
        half = self._seal.parameters.ring_degree // 2
        scale = int(self._seal.parameters.scale) * self._seal.primes[level]
        out = np.empty((len(bias), *words.shape[1:]), np.uint64)
        for limb, prime in enumerate(self._seal.primes[: level + 1]):
            root = self._roots_at(level)[limb]
            real, imaginary = (residues(f, prime) for f in factors)
            shift = _exact(bias.real, scale, prime)
            imaginary_words = times(imaginary, root, prime)
            imaginary_shift = times(_exact(bias.imag, scale, prime), root, prime)
            for first in (True, False):
                place = slice(0, half) if first else slice(half, 2 * half)
                matrix = reduce(
                    real + (imaginary_words if first else prime - imaginary_words), prime
                )
                added = reduce(
                    shift + (imaginary_shift if first else prime - imaginary_shift), prime
                )
                sums = matmul(matrix, words[:, :, limb, place], prime)
                sums[:, 0] = reduce(sums[:, 0] + added[:, None], prime)
                out[:, :, limb, place] = sums
        return out

    def _roots_at(self, level: int) -> list[int]:
        """For each prime, what the imaginary unit is in the first half of a polynomial."""
        if level not in self._roots:
            degree = self._seal.parameters.ring_degree
            everywhere = np.full(degree // 2, 1j)
            unit = self._codec.encode(everywhere, level, 1.0, "combine")
            roots = [int(unit.data(limb * degree)) for limb in range(level + 1)]
            for limb, root in enumerate(roots):
                ends = [unit.data(limb * degree + k) for k in (degree // 2 - 1, degree - 1)]
                assert ends == [root, self._seal.primes[limb] - root], "NTT order is not SEAL's"
            self._roots[level] = roots
        return self._roots[level]


def _integers(weights: AnyVector, scale: float) -> WeightParts:
    """Real and imaginary parts times ``scale``, rounded."""
    largest = float(np.abs(weights).max()) * scale
    if largest >= 2.0**62:
        raise PlanError(f"combine: weights up to {largest / scale:.3g} are too large")
    parts = (weights.real, weights.imag)
    real, imaginary = (np.rint(part * scale).astype(np.int64) for part in parts)
    return real, imaginary


def _exact(values: AnyVector, scale: int, prime: int) -> Words:
    """``values * scale`` modulo ``prime``; ``scale`` may have more bits than a float."""
    return np.array([int(v * 2.0**40) * scale // 2**40 % prime for v in values], np.uint64)
