"""Arithmetic modulo a prime of up to 60 bits on signed words that are not reduced at once.

Between steps a number is any int64 of the right residue. A product with a known factor needs one
guess of the quotient in float64: the number is cut at 30 bits, ``a = a1 2**30 + a0``, and
``a1 (f 2**30 mod q) + a0 f`` has less than 2**33 multiples of ``q`` in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thex_hf.backends.numerics.modular import Reals, Words
from thex_hf.backends.numerics.ntt import products

Signed = NDArray[np.int64]
Weights = NDArray[np.signedinteger[Any]]
"""Of a linear map, below 2**15 in size: kept as int16."""

_CUT = 30
_MASK = np.int64((1 << _CUT) - 1)
_ROUND = 1.5 * 2.0**52
_ROUND_BITS = np.float64(_ROUND).view(np.int64)


class Factors:
    """Known factors, below the prime."""

    def __init__(self, factors: Words, prime: int) -> None:
        self._prime = np.int64(prime)
        shifted = products(factors, np.array((1 << _CUT) % prime, np.uint64), prime)
        self._low, self._high = factors.view(np.int64), shifted.view(np.int64)
        self._low_share: Reals = factors / np.float64(prime)
        self._high_share: Reals = shifted / np.float64(prime)

    def __getitem__(self, key: object) -> Factors:
        """Some of them."""
        some = object.__new__(Factors)
        some._prime = self._prime
        for name in ("_low", "_high", "_low_share", "_high_share"):
            setattr(some, name, getattr(self, name)[key])
        return some

    def times(self, values: Signed) -> Signed:
        """``values`` times the factors, between ``-q/2`` and ``q/2`` (and 2**-18 of that more)."""
        high = values >> _CUT
        low = values & _MASK
        quotient = high.astype(np.float64)
        quotient *= self._high_share
        other = low.astype(np.float64)
        other *= self._low_share
        quotient += other
        quotient += _ROUND  # leaves the nearest whole number in the low bits of the mantissa
        multiples = quotient.view(np.int64)
        multiples -= _ROUND_BITS
        multiples *= self._prime
        high *= self._high
        low *= self._low
        high += low
        high -= multiples
        return high


def centred(values: Signed, prime: int) -> Signed:
    """Between ``-q/2`` and ``q/2``, rounding of a quotient aside; in place."""
    quotient = values * (1.0 / prime)
    np.rint(quotient, out=quotient)
    multiples = quotient.astype(np.int64)
    multiples *= np.int64(prime)
    values -= multiples
    return values


def lowered(values: Signed, prime: int) -> Words:
    """From 0 to ``q - 1``; in place."""
    centred(values, prime)
    values += np.int64(prime) & (values >> np.int64(63))
    return values.view(np.uint64)


class LazyTransform:
    """SEAL's transform (see :mod:`thex_hf.backends.numerics.ntt`) along the first axis.

    Args:
        degree: N, a power of two up to 8192.
        prime: 1 modulo 2N, of up to 60 bits.
        root: a primitive root of order 2N, the library's own.
    """

    def __init__(self, degree: int, prime: int, root: int) -> None:
        self.degree, self.prime = degree, prime
        self._powers = Factors(_powers(degree, prime, root)[:, None, None], prime)
        inverses = _powers(degree, prime, pow(root, -1, prime))
        self._inverses = Factors(inverses[:, None, None], prime)
        self._share = Factors(np.array(pow(degree, -1, prime), np.uint64), prime)

    def forward(self, values: Signed) -> Signed:
        """Values of the polynomials ``(N, M)`` with coefficients within ``-q..q``, in place.

        Each step adds at most half of ``q`` to what is at most ``q``: not centred at the end.
        """
        count = 1
        while count < self.degree:
            parts = values.reshape(count, 2, self.degree // (2 * count), -1)
            first, second = parts[:, 0], parts[:, 1]
            turned = self._powers[count : 2 * count].times(second)
            np.subtract(first, turned, out=second)
            first += turned
            count *= 2
        return values

    def backward(self, values: Signed) -> Signed:
        """The polynomials ``(N, M)`` with these values within ``-q..q``, in place; centred."""
        count, most = self.degree // 2, 1
        while count:
            parts = values.reshape(count, 2, self.degree // (2 * count), -1)
            first, second = parts[:, 0], parts[:, 1]
            difference = first - second
            first += second
            most *= 2  # in units of q, sums; products have half a unit
            if most > 2:
                first[...] = centred(first, self.prime)
                most = 1
            second[...] = self._inverses[count : 2 * count].times(difference)
            count //= 2
        values[:] = self._share.times(values)
        return values


def _powers(degree: int, prime: int, root: int) -> Words:
    """``root**reversed(i)``."""
    powers = np.ones(1, np.uint64)
    while powers.size < degree:
        step = np.array(pow(root, degree // (2 * powers.size), prime), np.uint64)
        powers = np.concatenate([powers, products(powers, step, prime)])
    return powers
