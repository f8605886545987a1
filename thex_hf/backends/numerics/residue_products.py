"""Products of whole matrices of residues modulo primes of up to 60 bits, batches of them too.

As :mod:`thex_hf.backends.numerics.modular`, but for operands of any shape, and with weights that
are small signed integers. Everything is exact: see :func:`.modular.products_are_exact`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from thex_hf.backends.numerics.modular import EXACT_BITS, Reals, Words
from thex_hf.backends.numerics.ntt import scaled, sums

PIECE = 20
"""Bits of a piece where both sides are uniform: three of them are 60 bits."""
MOST_SIGNED_BITS = 15
_HALF = 30
_TERMS = 1 << 8  # of a sum of small weights: 15 + 30 + 8 bits
_BATCH = 1 << (EXACT_BITS - 2 * PIECE - 2)  # of a sum of pieces, and of three such sums


def matmul(left: Words, right: Words, prime: int) -> Words:
    """``left @ right`` modulo ``prime``; axes before the last two as numpy's.

    Shape:
        left: ``(..., m, k)``; right: ``(..., k, n)``; both below ``prime``.
    """
    total: Words | None = None
    for start in range(0, left.shape[-1], _BATCH):
        terms = slice(start, start + _BATCH)
        part = _matmul(left[..., terms], right[..., terms, :], prime)
        total = part if total is None else sums(total, part, prime)
    assert total is not None
    return total


def _matmul(left: Words, right: Words, prime: int) -> Words:
    count = -(-prime.bit_length() // PIECE)
    lefts, rights = _pieces(left, count), _pieces(right, count)
    total: Words | None = None
    for weight in reversed(range(2 * count - 1)):
        pairs = range(max(0, weight - count + 1), min(weight, count - 1) + 1)
        part = sum(lefts[i] @ rights[weight - i] for i in pairs)
        words: Words = np.asarray(part).astype(np.uint64)  # below 2**53
        if total is not None:
            words = sums(scaled(total, 1 << PIECE, prime), words, prime)
        total = words
    assert total is not None
    return total


def _pieces(values: Words, count: int) -> list[Reals]:
    mask = np.uint64((1 << PIECE) - 1)
    return [((values >> np.uint64(PIECE * i)) & mask).astype(np.float64) for i in range(count)]


def signed_matmul(weights: NDArray[np.int64], columns: Words, prime: int) -> Words:
    """``weights @ columns`` modulo ``prime``, weights below 2**15 in size.

    Shape:
        weights: ``(m, k)``; columns: ``(k, n)``, below ``prime``.
    """
    assert math.ceil(math.log2(int(np.abs(weights).max(initial=0)) + 1)) <= MOST_SIGNED_BITS
    reals = weights.astype(np.float64)
    mask = np.uint64((1 << _HALF) - 1)
    total = np.zeros((len(weights), columns.shape[1]), np.uint64)
    for start in range(0, columns.shape[0], _TERMS):
        part = columns[start : start + _TERMS]
        left = np.ascontiguousarray(reals[:, start : start + _TERMS])
        low = left @ (part & mask).astype(np.float64)
        high = left @ (part >> np.uint64(_HALF)).astype(np.float64)
        both = sums(scaled(_residues(high, prime), 1 << _HALF, prime), _residues(low, prime), prime)
        total = sums(total, both, prime)
    return total


def _residues(values: Reals, prime: int) -> Words:
    """Whole numbers below 2**53 in size modulo ``prime``, which is larger than that or not."""
    signed = values.astype(np.int64)
    if prime.bit_length() <= EXACT_BITS:
        signed %= np.int64(prime)
    signed += np.int64(prime) & (signed >> np.int64(63))
    return signed.view(np.uint64)
