import numpy as np
import pytest

from thex_hf.backends.modular import EXACT_BITS, matmul, piece_bits


@pytest.mark.parametrize("bits", [20, 27, 30, 39, 46, 53, 60])
@pytest.mark.parametrize("terms", [1, 7, 256])
def test_products_of_the_largest_residues(bits, terms):
    prime = 2**bits - 1  # any modulus of that size will do
    rng = np.random.default_rng(bits)
    weights = rng.integers(0, prime, (3, terms), dtype=np.uint64)
    columns = rng.integers(0, prime, (terms, 2, 5), dtype=np.uint64)
    weights[0], columns[:, 0, 0] = prime - 1, prime - 1
    exact = np.tensordot(weights.astype(object), columns.astype(object), 1) % prime
    found = matmul(weights, columns, prime)
    assert found.dtype == np.uint64
    assert (found.astype(object) == exact).all()


def test_pieces_stay_exact():
    for bits in range(20, 61):
        for terms in (1, 2, 100, 1000, 4096):
            column, weight = piece_bits(bits, terms)
            most = (2**column - 1) * (2**weight - 1) * terms
            assert 0 < most < 2**EXACT_BITS
    assert piece_bits(28, 256) == (28, 16)  # two products for a prime of the usual size
