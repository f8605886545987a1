"""Matrix products modulo a prime, by float64 matrix products of pieces of a few bits.

A product of pieces of ``a`` and ``w`` bits, summed over ``n`` terms, is exact in float64 as
long as ``a + w + log2(n) <= 53``; so a fast linear-algebra library does nearly all the work.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

EXACT_BITS = 53
MOST_TERMS = 1 << 12


@lru_cache(maxsize=256)
def piece_bits(prime_bits: int, terms: int) -> tuple[int, int]:
    """Bits of the pieces of columns and of weights: the cheapest pair that stays exact."""
    room = EXACT_BITS - max(1, math.ceil(math.log2(terms + 1)))
    best = (math.inf, 0, 0, 0)
    for count in range(1, prime_bits + 1):
        column = -(-prime_bits // count)
        weight = min(prime_bits, room - column)
        if weight > 0:
            best = min(best, (count * -(-prime_bits // weight), count, column, weight))
    return best[2], best[3]


def matmul(weights: Words, columns: Words, prime: int) -> Words:
    """``weights @ columns`` modulo ``prime`` (below 2**61).

    Shape:
        weights: ``(m, n)``, columns: ``(n, ...)``, both below ``prime``, ``n`` at most 4096.
    """
    bits = prime.bit_length()
    column_bits, weight_bits = piece_bits(bits, weights.shape[1])
    lefts = _pieces(weights, weight_bits, bits)
    rights = [right.reshape(len(right), -1) for right in _pieces(columns, column_bits, bits)]
    shifts = {
        (i, j): i * column_bits + j * weight_bits
        for i in range(len(rights))
        for j in range(len(lefts))
    }
    total, height = np.zeros((0, 0), np.uint64), 0
    for (i, j), shift in sorted(shifts.items(), key=lambda item: -item[1]):
        part: Words = (lefts[j] @ rights[i]).astype(np.uint64)  # below 2**53
        if total.size:
            part += _shifted(total, height - shift, prime)
        total, height = reduce(part, prime), shift
    return total.reshape(len(weights), *columns.shape[1:])


def _pieces(values: Words, width: int, bits: int) -> list[NDArray[np.float64]]:
    """``width`` bits at a time as contiguous float64, lowest first."""
    if width >= bits:
        return [np.ascontiguousarray(values, dtype=np.float64)]
    mask = np.uint64((1 << width) - 1)
    return [((values >> np.uint64(low)) & mask).astype(np.float64) for low in range(0, bits, width)]


def _shifted(values: Words, shift: int, prime: int) -> Words:
    """``values * 2**shift`` modulo ``prime``, below 2**63 but not reduced to the end."""
    step = 63 - prime.bit_length()
    while shift > step:
        values = reduce(values << np.uint64(step), prime)
        shift -= step
    return values << np.uint64(shift)


def reduce(values: Words, prime: int) -> Words:
    """``values`` modulo ``prime``; numpy divides by a scalar faster than it takes remainders."""
    divisor = np.uint64(prime)
    multiples: Words = values // divisor
    multiples *= divisor
    rest: Words = np.subtract(values, multiples, out=multiples)
    return rest


def residues(integers: NDArray[np.int64], prime: int) -> Words:
    """Signed integers modulo ``prime``."""
    return np.mod(integers, prime).astype(np.uint64)


def times(values: Words, factor: int, prime: int) -> Words:
    """``values * factor`` modulo ``prime``, for few values."""
    if prime < 1 << 31:
        return reduce(values * np.uint64(factor), prime)
    exact: Words = (values.astype(object) * factor % prime).astype(np.uint64)
    return exact
