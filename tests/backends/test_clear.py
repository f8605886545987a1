from __future__ import annotations

import numpy as np
import pytest

from thex_hf.backends.base import KeyRequest
from thex_hf.backends.clear.backend import BACKEND, ClearBackend
from thex_hf.backends.clear.handles import ClearHandle, UnprotectedFormat
from thex_hf.backends.numerics.ntt import primes_of
from thex_hf.ckks.engine import ClientEngine, ServerEngine, Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError, SecurityError, WireError

TINY = Parameters(32, (40, 30, 30), 40, 30)


def engines(backend: ClearBackend) -> tuple[ClientEngine, ServerEngine]:
    secret, evaluation = backend.generate(KeyRequest(TINY, (1, 3), True))
    return backend.client(TINY, secret), backend.server(TINY, evaluation, (1, 3))


def squares(backend: ClearBackend, x: Vector) -> Vector:
    client, server = engines(backend)
    a = server.load(client.encrypt(x, 2))
    product = server.rescale(server.relinearise(server.mul(a, a)))
    return client.decrypt(server.dump(server.rotate(product, 3)))


def test_noise_is_reproducible_and_can_be_another() -> None:
    x = np.linspace(-1, 1, 16)
    first = squares(ClearBackend.insecure_for_tests(seed=1), x)
    np.testing.assert_array_equal(first, squares(ClearBackend.insecure_for_tests(seed=1), x))
    assert (first != squares(ClearBackend.insecure_for_tests(seed=2), x)).all()
    fresh = ClearBackend.insecure_for_tests(seed=None)
    assert (squares(fresh, x) != squares(fresh, x)).all()


def test_without_noise_only_the_scale_bias_remains() -> None:
    x = np.linspace(-1, 1, 16)
    bias = TINY.scale / primes_of(TINY)[2]
    assert 1 < bias < 1 + 1e-4
    exact = squares(ClearBackend.insecure_for_tests(noise=False), x)
    np.testing.assert_allclose(exact, np.roll(x * x * bias, -3), rtol=1e-14)


def test_small_rings_need_the_insecure_constructor() -> None:
    with pytest.raises(SecurityError):
        BACKEND.generate(KeyRequest(TINY, (), False))


def test_messages_say_they_are_open() -> None:
    client, _ = engines(ClearBackend.insecure_for_tests(noise=False))
    data = client.encrypt(np.full(16, 3.5), 1)
    assert data.startswith(b"THXC")
    assert np.float64(3.5).tobytes() * 16 in data


def test_complex_messages_and_exact_arithmetic() -> None:
    backend = ClearBackend.insecure_for_tests(noise=False)
    secret, evaluation = backend.generate(KeyRequest(TINY, (1,), True, True, True))
    client, server = backend.client(TINY, secret), backend.server(TINY, evaluation, (1,))
    z = np.linspace(-1, 1, 16) + 1j * np.linspace(3, 2, 16)
    a = server.load(client.encrypt(z, 2))
    factor = server.encode(z, 2, factor=True)
    for made, wanted in (
        (a, z),
        (server.sub(server.conjugate(a), a), -2j * z.imag),
        (server.times_i(server.rotate(a, 1)), 1j * np.roll(z, -1)),
        (server.rescale(server.mul_plain(a, factor)), z * z),
        (server.rescale(server.relinearise(server.mul(a, a))), z * z * server.scale_ratio(2)),
        (server.rerandomise(a), z),
    ):
        data = server.dump(made)
        np.testing.assert_allclose(client.decrypt_complex(data), wanted, atol=1e-14)
        np.testing.assert_allclose(client.decrypt(data), wanted.real, atol=1e-14)


def test_real_handles_stay_real() -> None:
    client, server = engines(ClearBackend.insecure_for_tests())
    a = server.load(client.encrypt(np.ones(16), 2))
    assert isinstance(a, ClearHandle)
    squared = server.rescale(server.relinearise(server.mul(a, a)))
    assert server.rotate(squared, 1).values.dtype == np.float64
    turned = server.add(squared, server.times_i(squared))
    assert server.rotate(turned, 1).values.dtype == np.complex128


def test_imaginary_parts_must_fit_too() -> None:
    client, server = engines(ClearBackend.insecure_for_tests(noise=False))
    big = server.load(client.encrypt(np.full(16, 400.0j), 2))
    with pytest.raises(PlanError, match="wrap around"):
        server.mod_switch(server.add(big, big), 0)


def test_values_that_would_wrap_are_refused() -> None:
    client, server = engines(ClearBackend.insecure_for_tests(noise=False))
    big = server.load(client.encrypt(np.full(16, 400.0), 2))  # 39 of 40 bits at level 0
    assert server.level(server.mod_switch(big, 0)) == 0
    with pytest.raises(PlanError, match="wrap around"):
        server.mod_switch(server.add(big, big), 0)
    squared = server.mul(big, big)
    with pytest.raises(PlanError, match="wrap around"):
        server.mod_switch(server.rescale(squared), 0)


def test_random_masks_may_exceed_the_modulus_in_a_slot_but_not_in_coefficients() -> None:
    client, _ = engines(ClearBackend.insecure_for_tests(noise=False))
    mask = np.zeros(16)
    mask[5] = 1500.0  # 1500 * 2^30 > 2^40 / 2, but a 16th of it in each coefficient
    client.encrypt(mask, 0)
    with pytest.raises(PlanError):
        client.encrypt(np.full(16, 1500.0), 0)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("zero", [0.0, 0j])
def test_numbers_no_ciphertext_can_hold(number: float, zero: complex) -> None:
    client, server = engines(ClearBackend.insecure_for_tests())
    data = bytearray(client.encrypt(np.full(16, zero), 0))
    data[-8:] = np.float64(number).tobytes()  # of a complex number, the imaginary part
    for reader in (server.load, client.decrypt):
        with pytest.raises(WireError, match="numbers"):
            reader(bytes(data))


def test_message_of_a_level_that_is_not_there() -> None:
    deep = UnprotectedFormat(TINY, bytes(16)).pack_vector(np.zeros(16), 3)
    with pytest.raises(WireError, match="level 3"):
        UnprotectedFormat(TINY, bytes(16)).unpack_vector(deep)
