"""Uniform integers of many bits, from the operating system, as residues."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.backends.numerics.ntt import differences, products, sums

_HALF = 60


def flood(degree: int, bits: int, primes: Sequence[int]) -> Words:
    """``(L, N)`` residues of N integers, uniform on ``-2**bits .. 2**bits - 1``, bits up to 119."""
    low_bits = min(bits + 1, _HALF)
    low, high = _uniform(degree, low_bits), _uniform(degree, bits + 1 - low_bits)
    out = np.empty((len(primes), degree), np.uint64)
    for row, prime in zip(out, primes, strict=True):
        divisor = np.uint64(prime)
        power = np.array((1 << low_bits) % prime, np.uint64)
        value = sums(products(high % divisor, power, prime), low % divisor, prime)
        row[:] = differences(value, np.array((1 << bits) % prime, np.uint64), prime)
    return out


def _uniform(count: int, bits: int) -> Words:
    words = np.frombuffer(os.urandom(8 * count), "<u8")
    return words & np.uint64((1 << bits) - 1)
