"""One suite for every slot backend in the registry: the verbs of ``layout.engines``."""

from __future__ import annotations

import numpy as np
import pytest
from conformance.slot_world import SLOTS, SMALL, STEPS, World, close

from thex_hf.backends.base import KeyRequest
from thex_hf.ckks.engine import Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError

# --- values -----------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1])
def test_round_trip(world: World, x: Vector, level: int) -> None:
    handle = world.sent(x, level)
    assert world.server.level(handle) == level
    assert world.server.slots == world.client.slots == SLOTS
    close(world.read(handle), x, 1e-5)


def test_add_and_add_plain(world: World, x: Vector, y: Vector) -> None:
    server = world.server
    close(world.read(server.add(world.sent(x), world.sent(y))), x + y)
    plain = server.encode(y, 1, factor=False)
    close(world.read(server.add_plain(world.sent(x), plain)), x + y)


def test_mul_plain_and_rescale(world: World, x: Vector, y: Vector) -> None:
    server = world.server
    out = server.rescale(server.mul_plain(world.sent(x), server.encode(y, 1, factor=True)))
    assert server.level(out) == 0
    close(world.read(out), x * y)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_dot_plain_is_the_sum_of_products(world: World, x: Vector, y: Vector, count: int) -> None:
    server = world.server
    values = [np.roll(x, i) * (1j if i == 3 else 1) for i in range(count)]
    factors = [np.roll(y, -i) * (1j if i == 2 else 1) for i in range(count)]
    handles = [world.sent(value) for value in values]
    before = server.dump(handles[0])
    plains = [server.encode(factor, 1, factor=True) for factor in factors]
    dot = server.dot_plain(handles, plains)
    out = server.rescale(dot)
    assert server.level(out) == 0
    wanted = sum(a * b for a, b in zip(values, factors, strict=True))
    close(world.read_complex(out), wanted)
    assert server.dump(handles[0]) == before
    with pytest.raises(PlanError, match="scale degree 1, got 2"):
        server.dump(dot)


def test_dot_plain_refuses(world: World, x: Vector) -> None:
    server, a, low = world.server, world.sent(x), world.sent(x, 0)
    factor, addend = server.encode(x, 1, factor=True), server.encode(x, 1, factor=False)
    for handles, plains, reason in (
        ([], [], "at least one"),
        ([a, a], [factor], "got 2 and 1"),
        ([a, low], [factor, factor], "level"),
        ([a], [addend], "factor=True"),
        ([server.mul_plain(a, factor)], [factor], "degree"),
    ):
        with pytest.raises(PlanError, match=reason):
            server.dot_plain(handles, plains)


def test_sum_of_products_is_rescaled_once(world: World, x: Vector, y: Vector) -> None:
    server, a, b = world.server, world.sent(x), world.sent(y)
    plain = server.mul_plain(a, server.encode(y, 1, factor=True))
    total = server.add(server.mul(a, b), plain)  # sizes 3 and 2
    close(world.read(server.relinearise(server.rescale(total))), 2 * x * y)


@pytest.mark.parametrize("relinearise_first", [True, False])
def test_mul(world: World, x: Vector, y: Vector, relinearise_first: bool) -> None:
    server = world.server
    product = server.mul(world.sent(x), world.sent(y))
    if relinearise_first:
        out = server.rescale(server.relinearise(product))
    else:
        out = server.relinearise(server.rescale(product))
    close(world.read(out), x * y)


def test_square(world: World, x: Vector) -> None:
    server, a = world.server, world.sent(x)
    close(world.read(server.rescale(server.relinearise(server.mul(a, a)))), x * x)


@pytest.mark.parametrize("step", [*STEPS, 0, SLOTS, 1 + SLOTS, 5 - SLOTS])
def test_rotate_by_every_requested_step(world: World, x: Vector, step: int) -> None:
    close(world.read(world.server.rotate(world.sent(x), step)), np.roll(x, -step))


def test_rotate_between_product_and_rescale(world: World, x: Vector, y: Vector) -> None:
    server = world.server
    product = server.mul_plain(world.sent(x), server.encode(y, 1, factor=True))
    close(world.read(server.rescale(server.rotate(product, 5))), np.roll(x * y, -5))


def test_mod_switch(world: World, x: Vector) -> None:
    lower = world.server.mod_switch(world.sent(x), 0)
    assert world.server.level(lower) == 0
    close(world.read(lower), x, 1e-5)
    assert world.server.level(world.server.mod_switch(lower, 0)) == 0


def test_zero_factor_gives_a_valid_zero(world: World, x: Vector) -> None:
    server, zero = world.server, np.zeros(SLOTS)
    product = server.mul_plain(world.sent(x), server.encode(zero, 1, factor=True))
    close(world.read(server.rescale(product)), zero, 1e-4)


def test_constant_and_zero_addends(world: World, x: Vector) -> None:
    for constant in (0.0, -3.25):
        plain = world.server.encode(np.full(SLOTS, constant), 1, factor=False)
        close(world.read(world.server.add_plain(world.sent(x), plain)), x + constant, 1e-5)


def test_verbs_do_not_change_their_arguments(world: World, x: Vector, y: Vector) -> None:
    server, a, b = world.server, world.sent(x), world.sent(y)
    before = server.dump(a)
    p, q = server.encode(y, 1, factor=True), server.encode(y, 1, factor=False)
    product = server.mul(a, b)
    server.relinearise(product)
    server.rescale(product)
    server.relinearise(product)
    for made in (server.add(a, b), server.add_plain(a, q), server.rotate(a, 1)):
        assert made is not a
    server.mul_plain(a, p)
    server.mod_switch(a, 0)
    assert server.dump(a) == before


def test_plaintexts_serve_another_key_pair(world: World, x: Vector, y: Vector) -> None:
    plain = world.server.encode(y, 1, factor=True)
    secret, evaluation = world.backend.generate(KeyRequest(SMALL, (), False))
    client = world.backend.client(SMALL, secret)
    server = world.backend.server(SMALL, evaluation, ())
    out = server.rescale(server.mul_plain(server.load(client.encrypt(x, 1)), plain))
    close(client.decrypt(server.dump(out)), x * y)


# --- accounting -------------------------------------------------------------


def test_levels_must_agree(world: World, x: Vector) -> None:
    server, a, b = world.server, world.sent(x, 1), world.sent(x, 0)
    for refused in (
        lambda: server.add(a, b),
        lambda: server.mul(a, b),
        lambda: server.add_plain(a, server.encode(x, 0, factor=False)),
        lambda: server.mul_plain(b, server.encode(x, 1, factor=True)),
        lambda: server.mod_switch(b, 1),
        lambda: server.mod_switch(a, -1),
    ):
        with pytest.raises(PlanError, match="level"):
            refused()


def test_no_level_left(world: World, x: Vector) -> None:
    low = world.sent(x, 0)
    with pytest.raises(PlanError, match="level 0"):
        world.server.mul(low, low)
    with pytest.raises(PlanError, match="level 0"):
        world.server.encode(x, 0, factor=True)
    with pytest.raises(PlanError, match="level 2"):
        world.server.encode(x, 2, factor=False)
    with pytest.raises(PlanError, match="level 2"):
        world.client.encrypt(x, 2)


def test_product_that_has_no_room_for_its_scale(world: World) -> None:
    tight = Parameters(4096, (31, 38), 40, 38)  # a product has scale 2^76, modulus 69 bits
    secret, evaluation = world.backend.generate(KeyRequest(tight, (), True))
    server = world.backend.server(tight, evaluation, ())
    a = server.load(world.backend.client(tight, secret).encrypt(np.full(SLOTS, 1e-3), 1))
    with pytest.raises(PlanError, match="scale"):
        server.mul(a, a)


def test_degrees_must_fit(world: World, x: Vector) -> None:
    server, a = world.server, world.sent(x)
    factor, addend = server.encode(x, 1, factor=True), server.encode(x, 1, factor=False)
    product = server.mul_plain(a, factor)
    for refused in (
        lambda: server.rescale(a),
        lambda: server.add(a, product),
        lambda: server.mul(product, product),
        lambda: server.mul_plain(product, factor),
        lambda: server.add_plain(product, addend),
        lambda: server.mod_switch(product, 0),
        lambda: server.dump(product),
        lambda: server.mul_plain(a, addend),
        lambda: server.add_plain(a, factor),
    ):
        with pytest.raises(PlanError):
            refused()


def test_sizes_must_fit(world: World, x: Vector) -> None:
    server, a = world.server, world.sent(x)
    three = server.rescale(server.mul(a, a))
    for refused in (
        lambda: server.relinearise(a),
        lambda: server.rotate(three, 1),
        lambda: server.mul(three, three),
        lambda: server.dump(three),
    ):
        with pytest.raises(PlanError, match="size"):
            refused()


def test_vectors_are_checked(world: World, x: Vector) -> None:
    bad = x.copy()
    bad[3] = np.nan
    for vector in (x[:-1], x.reshape(2, -1), bad):
        with pytest.raises(PlanError):
            world.server.encode(vector, 1, factor=False)
        with pytest.raises(PlanError):
            world.client.encrypt(vector, 1)


def test_too_large_values_are_refused(world: World, x: Vector) -> None:
    constant = np.full(SLOTS, 2.0**12)  # 2^42 at a modulus of 39 bits
    for refused in (
        lambda: world.client.encrypt(constant, 0),
        lambda: world.server.encode(constant, 0, factor=False),
        lambda: world.client.encrypt(x * 2.0**60, 1),
    ):
        with pytest.raises(PlanError, match="do not fit"):
            refused()
