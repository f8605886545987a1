"""Handles of the clear engine, and the modulus they must fit."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from thex_hf.backends.numerics.embedding import largest_coefficient, slots_of_reals
from thex_hf.backends.numerics.ntt import primes_of
from thex_hf.ckks.engine import AnyVector, ComplexVector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import WrapError


@dataclass(frozen=True, slots=True)
class ClearHandle:
    """A "ciphertext" of the clear engine: the numbers themselves and their accounting.

    Numbers under a mask are far larger than what they hide: ``low`` is what of them float64
    does not hold. Only ``dump`` and ``unblind`` look at it.
    """

    values: AnyVector
    level: int
    degree: int = 1
    size: int = 2
    low: AnyVector | None = None


@dataclass(frozen=True, slots=True)
class ClearPlaintext:
    """An encoded plaintext of the clear engine."""

    values: AnyVector
    level: int
    factor: bool


class Modulus:
    """The primes and bits of each level, and the check that a value does not wrap around."""

    def __init__(self, parameters: Parameters) -> None:
        self._scale, self._degree = parameters.scale, parameters.ring_degree
        *primes, _ = primes_of(parameters)
        self.primes = tuple(primes)
        products = [math.prod(primes[: level + 1]) for level in range(len(primes))]
        self.bits = tuple(product.bit_length() for product in products)
        self._halves = tuple(float(product) / 2 for product in products)

    def scale(self, level: int, degree: int) -> float:
        """Scale of a handle: nominal, or nominal times the level's last prime."""
        return self._scale if degree == 1 else self._scale * self.primes[level]

    def scale_ratio(self, level: int) -> float:
        """What a product of ciphertexts at ``level`` is multiplied by: nominal / prime."""
        return self._scale / self.primes[level]

    def masking(self, level: int) -> ComplexVector:
        """Slots of a polynomial with coefficients uniform modulo the modulus at ``level``."""
        words = np.frombuffer(os.urandom(8 * self._degree), dtype="<u8") >> np.uint64(11)
        bound = self._halves[level] / self._scale
        return slots_of_reals(np.asarray(words * (2.0 * bound / 2.0**53) - bound, np.float64))

    def check(self, values: AnyVector, level: int, degree: int, verb: str) -> None:
        """Refuse what a real machine would wrap around silently into garbage.

        The bound is on coefficients, which never exceed the largest slot; only when that
        quick bound fails are they computed.

        Raises:
            WrapError: value times scale does not fit the modulus at ``level``.
        """
        scale, half = self.scale(level, degree), self._halves[level]
        peak = float(np.abs(values).max())
        if peak * scale < half:
            return
        largest = largest_coefficient(values)
        if not largest * scale < half:
            raise WrapError(
                f"{verb} at level {level}: values up to {peak:.3g} at scale "
                f"2^{math.log2(scale):.1f} do not fit a modulus of {math.log2(half) + 1:.1f} "
                f"bits and would wrap around; use smaller values, a smaller scale or a "
                f"larger first prime"
            )
