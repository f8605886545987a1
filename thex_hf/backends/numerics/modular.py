"""Matrix products modulo a prime, by float64 matrix products of pieces of a few bits.

A product of pieces of ``a`` and ``w`` bits, summed over ``n`` terms, is exact in float64 as
long as ``a + w + log2(n) <= 53``; so a fast linear-algebra library does nearly all the work. That
holds for libraries that add and multiply as IEEE 754 says; one that trades bits for speed would
give other residues and so other answers, in silence. :func:`products_are_exact` looks once.
"""

from __future__ import annotations

import logging
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Reals = NDArray[np.float64]

logger = logging.getLogger(__name__)

EXACT_BITS = 53
MOST_TERMS = 1 << 12
CHECKED = 32  # rows and columns of the product that is checked


def product(left: Reals, right: Reals) -> Reals:
    """The matrix product of the library that numpy was built with."""
    return left @ right


@lru_cache(maxsize=1)
def products_are_exact() -> bool:
    """Whether :func:`product` gives sums of 53 bits to the last bit; a warning if it does not.

    Looked at once in a process, at the first use (some hundredths of a second).
    """
    rng = np.random.default_rng(53)
    # half of the terms 13 times 28 bits, half the other way round; the largest sum has 53 bits
    most = np.repeat([(1 << 13) - 1, (1 << 28) - 1], MOST_TERMS // 2)
    left = rng.integers(0, most + 1, (CHECKED, MOST_TERMS))
    right = rng.integers(0, most[::-1] + 1, (CHECKED, MOST_TERMS)).T.copy()
    left[0], right[:, 0] = most, most[::-1]
    reals = product(left.astype(np.float64), right.astype(np.float64))
    if np.array_equal(reals, (left @ right).astype(np.float64)):  # whole numbers: no such library
        return True
    logger.warning(
        "numpy's matrix product is not exact on this machine: sums of 53 bits came out wrong. Sums "
        "of ciphertexts are made of the engine's own products instead, which is much slower. Try "
        "another build of numpy, or of the linear-algebra library that it uses."
    )
    return False


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
        part: Words = product(lefts[j], rights[i]).astype(np.uint64)  # below 2**53
        if total.size:
            part += _shifted(total, height - shift, prime)
        total, height = reduce(part, prime), shift
    return total.reshape(len(weights), *columns.shape[1:])


def _pieces(values: Words, width: int, bits: int) -> list[Reals]:
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
