"""Polynomials with exact integer coefficients, from their residues and back.

Residues modulo the primes of a level become digits to a mixed base (Garner, 1959), and these a
number of twice float64's precision or its residue modulo any other prime.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from thex_hf.backends.numerics.embedding import Complex, Double, Reals, slots_of
from thex_hf.backends.numerics.modular import Words, residues
from thex_hf.backends.numerics.ntt import differences, products, sums

_HALF = 30
_MANTISSA = 53


class IntegerPolynomial:
    """The coefficients of one polynomial, in an interval as long as the modulus, about zero.

    Its middle may be off zero by half of the product of all primes but the last: what counts is
    that both sides take the same.

    Args:
        words: ``(limbs, N)`` residues of the coefficients.
        primes: one for each limb; the modulus is their product.
    """

    def __init__(self, words: Words, primes: Sequence[int]) -> None:
        self._primes = tuple(primes)
        self._digits: list[Words] = []
        for limb, prime in enumerate(primes):
            rest = words[limb]
            for digit, base in zip(self._digits, primes, strict=False):
                inverse = np.array(pow(base, -1, prime), np.uint64)
                rest = products(differences(rest, digit % np.uint64(prime), prime), inverse, prime)
            self._digits.append(rest)
        self._negative = self._digits[-1].astype(np.float64) / primes[-1] >= 0.5

    def residues(self, prime: int) -> Words:
        """``(N,)`` residues modulo ``prime``."""
        total, base = np.zeros_like(self._digits[0]), 1
        for digit, factor in zip(self._digits, self._primes, strict=True):
            part = products(digit % np.uint64(prime), np.array(base % prime, np.uint64), prime)
            total, base = sums(total, part, prime), base * factor
        lowered = differences(total, np.full_like(total, base % prime), prime)
        return np.where(self._negative, lowered, total)

    @cached_property
    def numbers(self) -> Double:
        """``(N,)`` coefficients, exact up to 104 bits."""
        zeros = np.zeros(self._digits[0].shape)
        total, base = Double(zeros, zeros), 1
        for digit, factor in zip(self._digits, self._primes, strict=True):
            low = digit & np.uint64((1 << _HALF) - 1)
            exact = Double.of((digit - low).astype(np.float64), low.astype(np.float64))
            total, base = total.plus(exact.times(_number(base))), base * factor
        modulus = _number(base)
        lowered = total.minus(modulus)
        return Double(
            *(np.where(self._negative, a, b) for a, b in zip(lowered, total, strict=True))
        )

    @cached_property
    def slots(self) -> Complex:
        """``(N/2,)`` slots at scale 1."""
        return slots_of(self.numbers)


def residues_of(numbers: Double, prime: int) -> Words:
    """Residues of integers of any size."""
    return sums(_residues(numbers.high, prime), _residues(numbers.low, prime), prime)


def uniform_residues(degree: int, prime: int) -> Words:
    """``(N,)`` residues, each uniform on ``0..prime-1``, from the operating system."""
    out, mask = np.empty(0, np.uint64), np.uint64((1 << prime.bit_length()) - 1)
    while out.size < degree:
        drawn = np.frombuffer(os.urandom(8 * degree), "<u8") & mask
        out = np.concatenate([out, drawn[drawn < prime]])
    return out[:degree]


def _number(integer: int) -> Double:
    high = float(integer)
    return Double(np.array(high), np.array(float(integer - int(high))))


def _residues(values: Reals, prime: int) -> Words:
    """Residues of whole float64."""
    mantissas, exponents = np.frexp(values)
    shifts = np.maximum(exponents - _MANTISSA, 0)
    whole = np.ldexp(mantissas, exponents - shifts).astype(np.int64)
    powers = np.array([pow(2, n, prime) for n in range(int(shifts.max(initial=0)) + 1)], np.uint64)
    return products(residues(whole, prime), powers[shifts], prime)
