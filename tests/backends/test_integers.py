"""Exact polynomials: transforms against sums, residues against Python's integers."""

import numpy as np
import pytest

from thex_hf.backends.numerics.embedding import (
    coefficients_of,
    slot_exponents,
    slots_of,
    slots_of_reals,
)
from thex_hf.backends.numerics.integers import IntegerPolynomial, uniform_residues
from thex_hf.backends.numerics.ntt import Transform, primes_of, products
from thex_hf.ckks.parameters import Parameters

DEGREE = 1024
PRIMES = primes_of(Parameters(DEGREE, (60, 27, 50), 58, 27))


def exact(numbers):
    return [int(a) + int(b) for a, b in zip(numbers.high, numbers.low, strict=True)]


@pytest.mark.parametrize("bits", [20, 27, 50, 51, 60, 61])
def test_products_of_the_largest_residues(bits):
    prime = 2**bits - 1
    a, b = np.random.default_rng(bits).integers(0, prime, (2, 500), dtype=np.uint64)
    a[:2], b[0] = prime - 1, prime - 1
    assert (products(a, b, prime).astype(object) == a.astype(object) * b % prime).all()


@pytest.mark.parametrize("prime", PRIMES)
def test_the_transform_is_evaluation_and_comes_back(prime):
    root = next(
        r for r in (pow(g, (prime - 1) // (2 * DEGREE), prime) for g in range(2, 99))
        if pow(r, DEGREE, prime) == prime - 1
    )  # fmt: skip
    transform, words = Transform(DEGREE, prime, root), uniform_residues(DEGREE, prime)
    values = transform.forward(words)
    for place, power in ((0, 1), (1, DEGREE + 1), (DEGREE - 1, 2 * DEGREE - 1)):
        point, total = pow(root, power, prime), 0
        for word in words[::-1].tolist():
            total = (total * point + word) % prime
        assert values[place] == total
    assert (transform.backward(values) == words).all()


def test_the_embedding_keeps_integers_of_ninety_bits():
    primes = PRIMES[:2]
    words = np.stack([uniform_residues(DEGREE, prime) for prime in primes])
    numbers = IntegerPolynomial(words, primes).numbers
    slots = slots_of(numbers)
    assert exact(coefficients_of(slots).rounded()) == exact(numbers)
    ordinary = slots_of_reals(numbers.high)
    values = slots.real.high + 1j * slots.imaginary.high
    np.testing.assert_allclose(values, ordinary, atol=1e-9 * np.abs(values).max())
    at = np.exp(1j * np.pi * slot_exponents(DEGREE)[5] * np.arange(DEGREE) / DEGREE)
    assert abs(values[5] - numbers.high @ at) < 1e-9 * np.abs(values).max()
