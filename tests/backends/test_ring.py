from __future__ import annotations

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thex_hf.backends.numerics.embedding import (
    as_seal_slots,
    conjugation_element,
    galois_element,
    largest_coefficient,
    ones_power,
    slot_exponents,
)
from thex_hf.backends.numerics.ntt import primes_of
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(4096, (36, 30), 40, 30),
        Parameters(8192, (50, 38, 38, 38), 54, 38),
        Parameters(16384, (60, 40, 40, 40, 40), 60, 40),
        Parameters(16384, (38, *[30] * 12), 40, 30),
        Parameters(8192, (20, 24, 25, 30, 30, 30), 30, 24),
    ],
)
def test_primes_are_those_of_seal(parameters: Parameters) -> None:
    api = pytest.importorskip("tenseal.sealapi")
    bits = [*parameters.prime_bits, parameters.special_bits]
    theirs = api.CoeffModulus.Create(parameters.ring_degree, bits)
    assert list(primes_of(parameters)) == [prime.value() for prime in theirs]


def test_too_few_primes() -> None:
    with pytest.raises(PlanError, match="14 bits"):
        primes_of(Parameters(4096, (14, 14, 14, 14), 14, 10))


@settings(max_examples=examples(30))
@given(values=arrays(np.float64, (2, 16), elements=st.floats(-100, 100)))
def test_largest_coefficient_equals_the_linear_solve(values: np.ndarray) -> None:
    degree = 32
    angles = np.pi * np.outer(slot_exponents(degree), np.arange(degree)) / degree
    system = np.vstack([np.cos(angles), np.sin(angles)])
    real, imaginary = values
    for held, parts in ((real, [real, 0 * real]), (real + 1j * imaginary, [real, imaginary])):
        coefficients = np.linalg.solve(system, np.concatenate(parts))
        assert largest_coefficient(held) == pytest.approx(np.abs(coefficients).max(), abs=1e-9)


def test_the_monomial_in_the_middle_is_the_imaginary_unit() -> None:
    roots = np.exp(1j * np.pi * slot_exponents(64) / 64)
    np.testing.assert_allclose(roots**32, np.full(32, 1j), atol=1e-12)


def test_our_slots_and_those_of_seal() -> None:
    degree = 64
    ours = np.exp(1j * np.pi * slot_exponents(degree) / degree)
    theirs = np.exp(1j * np.pi * np.array([pow(3, j, 128) for j in range(32)]) / degree)
    np.testing.assert_allclose(as_seal_slots(ours), theirs, atol=1e-12)
    np.testing.assert_array_equal(as_seal_slots(as_seal_slots(ours)), ours)


def test_ones_power_averages_to_the_ring_degree() -> None:
    assert ones_power(1024).mean() == pytest.approx(1024)
    assert ones_power(1024).argmax() == 0


def test_galois_elements() -> None:
    assert galois_element(0, 8192) == 1
    assert galois_element(1, 8192) == 16384 - 3
    assert galois_element(2, 8192) == 9
    assert galois_element(-1, 8192) * -3 % 16384 == 1
    assert conjugation_element(8192) ** 2 % 16384 == 1
    assert conjugation_element(8192) not in slot_exponents(8192)
