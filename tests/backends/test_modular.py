import numpy as np
import pytest

from thex_hf.backends.base import KeyRequest
from thex_hf.backends.numerics import modular
from thex_hf.backends.numerics.modular import EXACT_BITS, matmul, piece_bits
from thex_hf.backends.seal.backend import SealBackend
from thex_hf.ckks.parameters import Parameters


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


def halved(left, right):
    return (left.astype(np.float32) @ right.astype(np.float32)).astype(np.float64)


def last_bit_lost(left, right):
    return np.floor(left @ right / 2) * 2


def large_sums_rounded(left, right):
    found = left @ right
    return np.where(found > 2.0**52, np.floor(found / 4) * 4, found)


def added_in_pieces_of_float(left, right):
    """As of libraries that put double precision together from shorter numbers."""
    high = left.astype(np.float32).astype(np.float64)
    low = (left - high).astype(np.float16).astype(np.float64)
    return high @ right.astype(np.float32).astype(np.float64) + low @ right


INEXACT = [halved, last_bit_lost, large_sums_rounded, added_in_pieces_of_float]


@pytest.fixture
def looks_again():
    modular.products_are_exact.cache_clear()
    yield
    modular.products_are_exact.cache_clear()


@pytest.mark.parametrize("product", INEXACT)
def test_a_product_that_loses_bits_is_found_and_told_once(
    product, monkeypatch, caplog, looks_again
):
    monkeypatch.setattr(modular, "product", product)
    assert [modular.products_are_exact() for _ in range(3)] == [False] * 3
    assert [record.name for record in caplog.records] == ["thex_hf.backends.numerics.modular"]
    assert "not exact on this machine" in caplog.text


def test_the_product_of_this_machine_is_exact(caplog, looks_again):
    assert modular.products_are_exact()
    assert not caplog.records


def test_without_exact_products_sums_of_ciphertexts_are_right_all_the_same(
    monkeypatch, looks_again
):
    parameters = Parameters(1024, (46, 34), 46, 34)
    backend = SealBackend.insecure_for_tests()
    secret, evaluation = backend.generate(KeyRequest(parameters, (1,), relinearisation=True))
    client = backend.client(parameters, secret)
    rng = np.random.default_rng(0)
    inputs, weights, bias = rng.normal(size=(4, 512)), rng.normal(size=(3, 4)), rng.normal(size=3)
    used = []
    monkeypatch.setattr(modular, "product", lambda *sides: used.append(1) or halved(*sides))
    server = backend.server(parameters, evaluation, (1,))
    handles = [server.load(client.encrypt(own, 1)) for own in inputs]
    found = [client.decrypt(server.dump(a)) for a in server.combine(handles, weights, bias)]
    np.testing.assert_allclose(found, weights @ inputs + bias[:, None], atol=1e-4)
    assert used == [1]  # looked at, and never again
