"""Matrix products modulo a prime of up to 60 bits, by float64 products of balanced pieces.

A number below the prime is cut into digits between ``-2**(w-1)`` and ``2**(w-1)``, the top one
up to twice that; products of digits, summed over the terms, are whole numbers below ``2**53``
and so exact in float64 (see :func:`thex_hf.backends.numerics.modular.products_are_exact`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from thex_hf.backends.numerics.modular import Reals, Words, product
from thex_hf.errors import PlanError
from thex_hf.prepared.bfv.lazily import Signed, Weights, centred, lowered

MOST_WEIGHT = 1 << 15
_EXACT_BITS = 53
_HALF, _THIRD = 30, 20  # bits of a digit, of two or of three
_COLUMNS = 1 << 10  # words of a polynomial that are done at a time
_AT_A_TIME = 1 << 14
_WORDS = 1 << 16  # words that go into a product at a time
_MOST_PRODUCTS = 1 << 11  # terms: sums of two digits are below 2**21, their products 2**42


def digits(values: Words | Signed, width: int, count: int) -> list[Reals]:
    """Balanced digits of ``width`` bits, lowest first, of ``-q/2 <= values < q``."""
    half = 1 << (width - 1)
    shifted = values.view(np.uint64) + np.uint64(sum(half << (width * i) for i in range(count)))
    mask, parts = np.uint64((1 << width) - 1), []
    for i in range(count):
        part = shifted >> np.uint64(width * i) if i else shifted
        part = part & mask if i < count - 1 else part
        real = part.astype(np.float64)
        real -= half
        parts.append(real)
    return parts


def joined(sums: Sequence[Reals] | Sequence[Signed], width: int, prime: int) -> Words:
    """``sum(sums[i] * 2**(width * i))`` modulo ``prime``, each a whole number.

    Of one shape and contiguous, below 2**53 as reals and up to a quarter of the prime as int64. A
    few words at a time, so that they stay in the cache.
    """
    if len(sums) == 1:
        return lowered(sums[0].astype(np.int64), prime)
    shape = sums[0].shape
    flat, out = [one.reshape(-1) for one in sums], np.empty(shape, np.int64)
    results, step, divisor = out.reshape(-1), float(1 << width) / prime, np.int64(prime)
    size = min(_AT_A_TIME, results.size)
    real, whole, shift = np.empty(size), np.empty(size, np.int64), np.int64(width)
    small = prime.bit_length() <= _EXACT_BITS + 1  # half of it and a sum may exceed it
    for start in range(0, results.size, size):
        total = results[start : start + size]
        guess, multiples = real[: total.size], whole[: total.size]
        *rest, top = (one[start : start + size] for one in flat)
        np.copyto(total, top, casting="unsafe")
        np.multiply(top, step, out=guess)
        while True:  # only the difference of the two that wrap counts, and it is small
            np.rint(guess, out=guess)
            np.copyto(multiples, guess, casting="unsafe")
            multiples *= divisor
            total <<= shift
            total -= multiples
            np.copyto(multiples, rest.pop(), casting="unsafe")
            total += multiples
            if not rest:
                break
            np.multiply(total, step, out=guess)
        if small:
            centred(total, prime)
        np.right_shift(total, 63, out=multiples)
        multiples &= divisor
        total += multiples
    return out.view(np.uint64)


def weighted(weights: Weights, columns: Words, prime: int) -> Words:
    """``weights @ columns`` modulo ``prime``.

    Shape:
        weights: ``(m, n)``, below :data:`MOST_WEIGHT` in size; columns: ``(n, c)`` below the prime.

    Raises:
        PlanError: shapes that do not belong together, numbers that are not signed integers, or a
            weight of more than 15 bits.
    """
    if weights.ndim != 2 or weights.shape[1] != len(columns):
        raise PlanError(f"linear: weights {weights.shape} do not fit inputs {columns.shape}")
    if weights.dtype.kind != "i":
        raise PlanError(f"linear takes whole weights, got {weights.dtype}")
    most = max(int(weights.max(initial=0)), -int(weights.min(initial=0)))
    if most >= MOST_WEIGHT:
        raise PlanError(f"linear takes weights below {MOST_WEIGHT}, got {most}")
    terms = 1 << (_EXACT_BITS - _HALF - max(1, most.bit_length()))
    together = terms * max(1, prime >> (_EXACT_BITS + 2))  # sums up to a quarter of the prime
    factors = weights.astype(np.float64)
    out = np.zeros((len(weights), columns.shape[1]), np.uint64)
    for column in range(0, columns.shape[1], _COLUMNS):
        total = out[:, column : column + _COLUMNS]
        some = columns[:, column : column + _COLUMNS]
        for start in range(0, len(columns), together):
            rows = slice(start, start + together)
            made = joined(_sums(factors[:, rows], some[rows], terms, prime), _HALF, prime)
            if start:
                made += total
                made -= np.uint64(prime) * (made >= np.uint64(prime))
            total[...] = made
    return out


def _sums(factors: Reals, columns: Words, terms: int, prime: int) -> list[Reals] | list[Signed]:
    """``factors`` times each digit of the columns, exact in float64 for so many terms."""
    count = -(-prime.bit_length() // _HALF)
    if len(columns) <= terms:
        return [product(factors, digit) for digit in digits(columns, _HALF, count)]
    totals: list[Signed] = []
    for start in range(0, len(columns), terms):
        rows = slice(start, start + terms)
        parts = digits(columns[rows], _HALF, count)
        sums = [product(factors[:, rows], digit).astype(np.int64) for digit in parts]
        if not totals:
            totals = sums
            continue
        for total, one in zip(totals, sums, strict=True):
            total += one
    return totals


def linear(weights: Weights, inputs: Words, primes: Sequence[int]) -> Words:
    """``weights @ inputs`` modulo each prime.

    Shape:
        weights: ``(m, n)``; inputs: ``(n, 2, L, N)``; result ``(m, 2, L, N)``.

    Raises:
        PlanError: as :func:`weighted`, of which it is one for each polynomial and prime.
    """
    if inputs.ndim != 4:
        raise PlanError(f"linear: weights {weights.shape} do not fit inputs {inputs.shape}")
    out = np.empty((len(weights), *inputs.shape[1:]), np.uint64)
    for limb, prime in enumerate(primes):
        for part in range(inputs.shape[1]):
            out[:, part, limb] = weighted(weights, inputs[:, part, limb], prime)
    return out


def cross(factors: Signed, inputs: Words, primes: Sequence[int]) -> Words:
    """For each of B instances and each prime, a matrix product.

    Shape:
        factors: ``(L, B, O, K)`` from ``-q/2`` to ``q/2``, as :meth:`.InstancePlaintexts.encode`
        has them; inputs: ``(K, 2, L, N)``; result ``(O, 2, L, N)``.
    """
    _, instances, outputs, terms = factors.shape
    degree = inputs.shape[3]
    width = degree // instances
    out = np.empty((outputs, *inputs.shape[1:]), np.uint64)
    sources = inputs.reshape(*inputs.shape[:3], instances, width)
    targets = out.reshape(*out.shape[:3], instances, width)
    step = max(1, _WORDS // (terms * (outputs + 2 * width)))
    for limb, prime in enumerate(primes):
        for start in range(0, instances, step):
            some = slice(start, start + step)
            right = np.ascontiguousarray(sources[:, :, limb, some].transpose(2, 0, 1, 3))
            right = right.reshape(len(right), terms, 2 * width)
            made = batched(factors[limb, some], right.view(np.int64), prime)
            made = made.reshape(len(right), outputs, 2, width)
            targets[:, :, limb, some] = made.transpose(1, 2, 0, 3)
    return out


def batched(left: Signed, right: Signed, prime: int) -> Words:
    """Products ``(..., O, K) @ (..., K, C)`` modulo ``prime``, both from ``-q/2`` to ``q``."""
    terms = left.shape[-1]
    chunks = math.ceil(terms / _MOST_PRODUCTS)
    total = _batched(left[..., :_MOST_PRODUCTS], right[..., :_MOST_PRODUCTS, :], prime)
    for chunk in range(1, chunks):
        span = slice(chunk * _MOST_PRODUCTS, (chunk + 1) * _MOST_PRODUCTS)
        total += _batched(left[..., span], right[..., span, :], prime)
        total %= np.uint64(prime)
    return total


def _batched(left: Signed, right: Signed, prime: int) -> Words:
    """Six products in place of nine (Karatsuba and Ofman, 1962)."""
    a0, a1, a2 = digits(left, _THIRD, 3)
    b0, b1, b2 = digits(right, _THIRD, 3)
    first, second, third = product(a0, b0), product(a1, b1), product(a2, b2)
    mixed = product(a0 + a1, b0 + b1)
    mixed -= first
    mixed -= second
    outer = product(a0 + a2, b0 + b2)
    outer -= first
    outer -= third
    outer += second
    upper = product(a1 + a2, b1 + b2)
    upper -= second
    upper -= third
    return joined([first, mixed, outer, upper, third], _THIRD, prime)
