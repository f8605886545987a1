"""Products and transforms on residues, against Python's integers; no ciphertexts."""

import numpy as np
import pytest

from thex_hf.backends.numerics.ntt import Transform, primes_of
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError
from thex_hf.prepared.bfv.lazily import Factors, LazyTransform, centred, lowered
from thex_hf.prepared.bfv.products import cross, linear

RING = 256
PRIMES = primes_of(Parameters(8192, (60, 45, 30), 60, 30))


def residues(seed, prime, *shape):
    """Below the prime; the first ones are the largest and the smallest."""
    values = np.random.default_rng(seed).integers(0, prime, shape, dtype=np.uint64)
    values.reshape(-1)[:3] = [prime - 1, 0, prime // 2]
    return values


def root_of(degree, prime):
    """A primitive root of order 2N."""
    for base in range(2, 100):
        root = pow(base, (prime - 1) // (2 * degree), prime)
        if pow(root, degree, prime) == prime - 1:
            return root
    raise AssertionError


@pytest.mark.parametrize("prime", PRIMES)
def test_known_factors(prime):
    factors, values = residues(1, prime, 1000), residues(2, prime, 1000).view(np.int64)
    values[5:9] = [-(2**62), 2**62, 2**63 - 1, -(2**63)]
    made = Factors(factors, prime).times(values)
    assert int(np.abs(made).max()) <= prime // 2 + prime // 2**17
    exact = factors.astype(object) * values.astype(object)
    assert np.array_equal(lowered(made, prime).astype(object), exact % prime)


@pytest.mark.parametrize("prime", PRIMES)
def test_reduction(prime):
    values = np.array([0, 1, -1, prime, -prime, 3 * prime + 1, 2**62, -(2**62)])
    exact = values.astype(object) % prime
    assert int(np.abs(centred(values.copy(), prime)).max()) <= prime // 2 + 1
    assert np.array_equal(lowered(values, prime).astype(object), exact)


@pytest.mark.parametrize("size", [4, 64, 8192])
def test_transforms_are_those_of_seal_s_order(size):
    prime = PRIMES[0]
    root = root_of(size, prime)
    words = residues(size, prime, 3, size)
    lazy, plain = LazyTransform(size, prime, root), Transform(size, prime, root)
    made = lazy.forward(words.T.copy().view(np.int64))
    assert np.array_equal(lowered(made, prime).T, plain.forward(words))
    back = lazy.backward(words.T.copy().view(np.int64))
    assert np.array_equal(lowered(back, prime).T, plain.backward(words))


@pytest.mark.parametrize(("inputs", "most"), [(1, 1), (300, 1023), (600, 32767), (8500, 32767)])
def test_linear(inputs, most):
    weights = np.random.default_rng(inputs).integers(-most, most + 1, (3, inputs))
    weights[0], weights[1] = most, -most
    words = np.stack([residues(1, prime, inputs, 2, 8) for prime in PRIMES], axis=2)
    words[:, 0] = np.array(PRIMES, np.uint64)[:, None] - np.uint64(1)
    made = linear(weights, words, PRIMES)
    exact = np.tensordot(weights.astype(object), words.astype(object), 1)
    for limb, prime in enumerate(PRIMES):
        assert np.array_equal(made[:, :, limb].astype(object), exact[:, :, limb] % prime)


@pytest.mark.parametrize(("terms", "width"), [(1, 1), (33, 4), (2048, 2), (2500, 2)])
def test_cross(terms, width):
    instances = 4
    words = np.stack([residues(1, q, terms, 2, instances * width) for q in PRIMES], axis=2)
    words[:, 0] = np.array(PRIMES, np.uint64)[:, None] - np.uint64(1)
    factors = np.stack([residues(2, q, instances, 3, terms) for q in PRIMES]).view(np.int64)
    for rows, prime in zip(factors, PRIMES, strict=True):
        centred(rows, prime)
        rows[:, 0] = prime // 2
        rows[:, 1] = -(prime // 2)
    made = cross(factors, words, PRIMES).reshape(3, 2, len(PRIMES), instances, width)
    sources = words.reshape(terms, 2, len(PRIMES), instances, width).astype(object)
    for limb, prime in enumerate(PRIMES):
        exact = np.einsum("bok,kpba->opba", factors[limb].astype(object), sources[:, :, limb])
        assert np.array_equal(made[:, :, limb].astype(object), exact % prime)


@pytest.mark.parametrize("weight", [32768, -32768, -(2**63), 1.0])
def test_weights_have_a_limit(weight):
    words = np.zeros((1, 2, 3, 8), np.uint64)
    with pytest.raises(PlanError, match="linear takes"):
        linear(np.array([[weight]]), words, PRIMES)
