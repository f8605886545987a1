"""Polynomials modulo a prime: SEAL's number-theoretic transform, and exact products of words.

Coefficient ``n`` of a polynomial of degree below N, modulo ``x**N + 1``, is word ``n``; its
transform holds in word ``i`` the value at ``root**(2 * reversed(i) + 1)``, where ``root`` is a
primitive root of order 2N and ``reversed`` turns the bits of ``i`` round (Longa and Naehrig,
2016, algorithms 1 and 2; SEAL's order is the same).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from thex_hf.backends.numerics.modular import Words
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError

Signed = NDArray[np.int64]

_FLOAT_BITS = 50  # up to here a quotient of two products is known to within one in float64
_HALF = 30


def products(values: Words, factors: Words, prime: int) -> Words:
    """``values * factors`` modulo ``prime`` (below 2**61), element by element.

    Both are below ``prime``. The quotient is guessed in float64, the rest is exact.
    """
    if prime.bit_length() <= _FLOAT_BITS:
        return _product(values, factors, prime)
    low = np.uint64((1 << _HALF) - 1)
    high = _product(values, factors >> np.uint64(_HALF), prime)
    shifted = _product(high, np.uint64(1 << _HALF), prime)
    return sums(shifted, _product(values, factors & low, prime), prime)


def _product(values: Words, factors: Words | np.uint64, prime: int) -> Words:
    """As :func:`products`, where ``factors`` or ``prime`` have at most 50 bits."""
    divisor = np.int64(prime)
    quotient = np.rint(values.astype(np.float64) * (np.asarray(factors, np.float64) / prime))
    with np.errstate(over="ignore"):  # only the difference counts, and it is small
        rest: Signed = (values * factors).view(np.int64) - quotient.astype(np.int64) * divisor
    rest += divisor & (rest >> np.int64(63))
    rest -= divisor
    rest += divisor & (rest >> np.int64(63))
    return rest.view(np.uint64)


def sums(a: Words, b: Words, prime: int) -> Words:
    """``a + b`` modulo ``prime``, both below it."""
    return _lowered(a + b, prime)


def differences(a: Words, b: Words, prime: int) -> Words:
    """``a - b`` modulo ``prime``, both below it."""
    return _lowered(a + (np.uint64(prime) - b), prime)


def _lowered(values: Words, prime: int) -> Words:
    """Values below twice the prime, below it."""
    rest = values.view(np.int64) - np.int64(prime)
    rest += np.int64(prime) & (rest >> np.int64(63))
    return rest.view(np.uint64)


class Transform:
    """The transform of one prime and ring.

    Args:
        degree: N, a power of two.
        prime: 1 modulo 2N.
        root: a primitive root of order 2N, the library's own.
    """

    def __init__(self, degree: int, prime: int, root: int) -> None:
        self.degree, self.prime, self.root = degree, prime, root

    def forward(self, words: Words) -> Words:
        """Values of the polynomials ``(..., N)``."""
        prime, x, count = self.prime, words, 1
        while count < self.degree:
            parts = x.reshape(*words.shape[:-1], count, 2, -1)
            factors = self._powers[count : 2 * count, None]
            first, second = parts[..., 0, :], products(parts[..., 1, :], factors, prime)
            x = np.stack([sums(first, second, prime), differences(first, second, prime)], axis=-2)
            count *= 2
        return x.reshape(words.shape)

    def backward(self, words: Words) -> Words:
        """The polynomials whose values are ``(..., N)``."""
        prime, x, count = self.prime, words, self.degree // 2
        while count:
            parts = x.reshape(*words.shape[:-1], count, 2, -1)
            factors = self._inverses[count : 2 * count, None]
            first, second = parts[..., 0, :], parts[..., 1, :]
            turned = products(differences(first, second, prime), factors, prime)
            x = np.stack([sums(first, second, prime), turned], axis=-2)
            count //= 2
        share = np.array(pow(self.degree, -1, prime), np.uint64)
        return products(x.reshape(words.shape), share, prime)

    @cached_property
    def _powers(self) -> Words:
        """``root**reversed(i)``."""
        return self._table(self.root)

    @cached_property
    def _inverses(self) -> Words:
        return self._table(pow(self.root, -1, self.prime))

    def _table(self, root: int) -> Words:
        powers = np.ones(1, np.uint64)
        while powers.size < self.degree:
            step = pow(root, self.degree // (2 * powers.size), self.prime)
            powers = np.concatenate(
                [powers, products(powers, np.array(step, np.uint64), self.prime)]
            )
        return powers


def _descending(ring_degree: int, bits: int) -> Iterator[int]:
    """Primes of exactly ``bits`` bits that are 1 modulo 2N, largest first."""
    from sympy import isprime  # half a second that only the choice of primes takes

    step = 2 * ring_degree
    candidate = ((1 << bits) - 1) // step * step + 1
    while candidate >= 1 << (bits - 1):
        if candidate.bit_length() == bits and isprime(candidate):
            yield candidate
        candidate -= step


def primes_of(parameters: Parameters) -> tuple[int, ...]:
    """The ciphertext primes, lowest level first, then the key-switching prime.

    Same choice as SEAL's ``CoeffModulus::Create``: for each size the largest primes, the
    smallest of them used first.

    Raises:
        PlanError: there are not enough primes of one size.
    """
    sizes = (*parameters.prime_bits, parameters.special_bits)
    stacks: dict[int, list[int]] = {}
    for bits, wanted in Counter(sizes).items():
        source = _descending(parameters.ring_degree, bits)
        stacks[bits] = [prime for prime, _ in zip(source, range(wanted), strict=False)]
        if len(stacks[bits]) < wanted:
            raise PlanError(
                f"there are not {wanted} primes of {bits} bits for ring degree "
                f"{parameters.ring_degree}; use larger primes"
            )
    return tuple(stacks[bits].pop() for bits in sizes)
