"""One suite for every slot backend in the registry: complex slots and the verbs for them."""

from __future__ import annotations

import numpy as np
import pytest
from conformance.slot_world import SLOTS, STEPS, World, close

from thex_hf.backends.base import KeyRequest
from thex_hf.ckks.engine import ComplexVector, Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError

EXACT = 1e-11  # below every error of the machine, above float64


@pytest.fixture
def z(x: Vector, y: Vector) -> ComplexVector:
    return x + 1j * y


@pytest.fixture
def w(x: Vector, y: Vector) -> ComplexVector:
    return 0.5 * y[::-1] - 0.7j * x


# --- values -----------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1])
def test_round_trip(world: World, z: ComplexVector, level: int) -> None:
    handle = world.sent(z, level)
    assert world.server.level(handle) == level
    assert world.read(handle).dtype == np.float64
    close(world.read(handle), z.real, 1e-5)
    close(world.read_complex(handle), z, 1e-5)


def test_real_vectors_have_no_imaginary_part(world: World, x: Vector) -> None:
    seen = world.read_complex(world.sent(x))
    assert seen.dtype == np.complex128
    close(seen, x, 1e-5)


@pytest.mark.parametrize("constant", [None, 0.25 - 0.5j, -2j, 1.5 + 0j, 0j])
def test_complex_plaintexts(
    world: World, z: ComplexVector, w: ComplexVector, constant: complex | None
) -> None:
    server = world.server
    operand = w if constant is None else np.full(SLOTS, constant)
    factor, addend = (server.encode(operand, 1, factor=factor) for factor in (True, False))
    close(world.read_complex(server.add_plain(world.sent(z), addend)), z + operand, 1e-5)
    product = server.rescale(server.mul_plain(world.sent(z), factor))
    close(world.read_complex(product), z * operand)


def test_complex_products_and_sums(world: World, z: ComplexVector, w: ComplexVector) -> None:
    server, a, b = world.server, world.sent(z), world.sent(w)
    close(world.read_complex(server.add(a, b)), z + w, 1e-5)
    close(world.read_complex(server.sub(a, b)), z - w, 1e-5)
    close(world.read_complex(server.rescale(server.relinearise(server.mul(a, b)))), z * w)
    close(world.read_complex(server.rescale(server.relinearise(server.mul(a, a)))), z * z)


def test_sub_of_sizes_three_and_two(world: World, x: Vector, y: Vector) -> None:
    server, a, b = world.server, world.sent(x), world.sent(y)
    product, plain = server.mul(a, b), server.mul_plain(a, server.encode(x, 1, factor=True))
    for first, second, sign in ((product, plain, 1), (plain, product, -1)):
        out = server.rescale(server.relinearise(server.sub(first, second)))
        close(world.read(out), sign * (x * y - x * x))


@pytest.mark.parametrize("step", [*STEPS, 0])
def test_rotations_keep_both_parts(world: World, z: ComplexVector, step: int) -> None:
    close(world.read_complex(world.server.rotate(world.sent(z), step)), np.roll(z, -step))


@pytest.mark.parametrize("level", [0, 1])
def test_conjugate(world: World, z: ComplexVector, level: int) -> None:
    out = world.server.conjugate(world.sent(z, level))
    assert world.server.level(out) == level
    close(world.read_complex(out), z.conj())


def test_conjugate_between_product_and_rescale(
    world: World, z: ComplexVector, w: ComplexVector
) -> None:
    server = world.server
    product = server.mul_plain(world.sent(z), server.encode(w, 1, factor=True))
    close(world.read_complex(server.rescale(server.conjugate(product))), (z * w).conj())


def test_two_reals_in_a_slot_come_apart(world: World, x: Vector, y: Vector) -> None:
    server = world.server
    both = server.add(world.sent(x), server.times_i(world.sent(y)))
    other = server.conjugate(both)
    close(world.read_complex(server.add(both, other)), 2 * x)
    close(world.read_complex(server.times_i(server.sub(both, other))), -2 * y)


@pytest.mark.parametrize("level", [0, 1])
def test_times_i_is_exact(world: World, z: ComplexVector, level: int) -> None:
    server, a = world.server, world.sent(z, level)
    turned = server.times_i(a)
    assert server.level(turned) == level
    before = world.read_complex(a)
    assert np.abs(before - z).max() > 100 * EXACT  # the errors are there, and turn as well
    close(world.read_complex(turned), 1j * before, EXACT)
    close(world.read_complex(server.times_i(turned)), -before, EXACT)


def test_times_i_of_products(world: World, z: ComplexVector, w: ComplexVector) -> None:
    server, a, b = world.server, world.sent(z), world.sent(w)
    three = server.times_i(server.mul(a, b))  # size 3, degree 2
    close(world.read_complex(server.rescale(server.relinearise(three))), 1j * z * w)
    plain = server.times_i(server.mul_plain(a, server.encode(w, 1, factor=True)))
    close(world.read_complex(server.rescale(plain)), 1j * z * w)


@pytest.mark.parametrize("level", [0, 1])
def test_rerandomise(world: World, z: ComplexVector, level: int) -> None:
    server, a = world.server, world.sent(z, level)
    once, twice = server.rerandomise(a), server.rerandomise(a)
    assert server.level(once) == level
    assert len({server.dump(a), server.dump(once), server.dump(twice)}) == 3
    close(world.read_complex(once), z)
    close(world.read_complex(twice), z)


def test_bias_is_what_products_are_off_by(world: World) -> None:
    low = Parameters(4096, (39, 30), 39, 28)  # a scale far below the prime: products are off
    secret, evaluation = world.backend.generate(KeyRequest(low, (), True))
    client, server = world.backend.client(low, secret), world.backend.server(low, evaluation, ())
    assert server.scale_ratio(1) == pytest.approx(0.25, rel=1e-4)
    a = server.load(client.encrypt(np.ones(SLOTS), 1))
    out = server.rescale(server.relinearise(server.mul(a, a)))
    close(client.decrypt(server.dump(out)), np.full(SLOTS, server.scale_ratio(1)))
    assert world.server.scale_ratio(1) == pytest.approx(1, rel=1e-3)


def test_verbs_do_not_change_their_arguments(world: World, z: ComplexVector) -> None:
    server, a, b = world.server, world.sent(z), world.sent(z.conj())
    before = server.dump(a)
    for made in (server.sub(a, b), server.conjugate(a), server.times_i(a), server.rerandomise(a)):
        assert made is not a
    assert server.dump(a) == before


# --- accounting -------------------------------------------------------------


def test_what_the_verbs_refuse(world: World, z: ComplexVector) -> None:
    server, a = world.server, world.sent(z)
    two = server.mul_plain(a, server.encode(z, 1, factor=True))
    three = server.rescale(server.mul(a, a))
    for refused, reason in (
        (lambda: server.sub(a, two), "sub needs equal scale degrees"),
        (lambda: server.sub(a, world.sent(z, 0)), "sub needs equal levels"),
        (lambda: server.conjugate(three), "conjugate needs a ciphertext of size 2"),
        (lambda: server.rerandomise(three), "rerandomise needs a ciphertext of size 2"),
        (lambda: server.rerandomise(two), "rerandomise needs scale degree 1"),
        (lambda: server.scale_ratio(0), "level 0"),
        (lambda: server.scale_ratio(2), "level 2"),
    ):
        with pytest.raises(PlanError, match=reason):
            refused()


def test_complex_vectors_are_checked(world: World, z: ComplexVector) -> None:
    bad = z.copy()
    bad[3] = complex(0, np.inf)
    for vector, reason in (
        (z[:-1], "shape"),
        (bad, "finite"),
        (np.full(SLOTS, 2.0**12 * 1j), "do not fit"),
        (z * 2.0**60, "do not fit"),
    ):
        with pytest.raises(PlanError, match=reason):
            world.server.encode(vector, 0, factor=False)
        with pytest.raises(PlanError, match=reason):
            world.client.encrypt(vector, 0)


def test_a_complex_mask_hides_both_parts(world: World, z: ComplexVector) -> None:
    """A client can look at imaginary parts: a real mask leaves them open."""
    server, a = world.server, world.sent(z)
    mask = np.random.default_rng(5).uniform(-50, 50, SLOTS)
    real = server.add_plain(a, server.encode(mask, 1, factor=False))
    close(world.read_complex(real).imag, z.imag, 1e-5)
    both = server.add_plain(a, server.encode(mask + 1j * mask[::-1], 1, factor=False))
    seen = world.read_complex(both)
    for part, hidden in ((seen.real, z.real), (seen.imag, z.imag)):
        assert abs(np.corrcoef(part, hidden)[0, 1]) < 0.2
