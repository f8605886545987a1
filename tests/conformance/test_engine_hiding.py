"""One suite for every slot backend in the registry: hiding handles from a client, wholly."""

from __future__ import annotations

import numpy as np
import pytest
from conformance.slot_world import SLOTS, World, close
from example_counts import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thex_hf.ckks.engine import ComplexVector, Move, Vector
from thex_hf.errors import PlanError, WireError

STILL = Move(1, np.arange(SLOTS)[None])
FRESH = 2e-5  # errors of an encryption and of a zero; float64 masks would leave more


@pytest.fixture
def z(x: Vector, y: Vector) -> ComplexVector:
    return x + 1j * y


def returned(world: World, vectors: list[ComplexVector], move: Move) -> list[ComplexVector]:
    """What the server has after the client has moved what was hidden."""
    server = world.server
    hidden, blind = server.blind([world.sent(vector) for vector in vectors])
    (data,) = world.client.renew([server.dump(a) for a in hidden], [(move, 1)])
    shown = server.unblind([server.load(one) for one in data], blind, move)
    assert [server.level(a) for a in shown] == [1] * move.targets
    return [world.read_complex(a) for a in shown]


@pytest.mark.parametrize("real", [False, True])
def test_what_comes_back_is_what_was_hidden(world: World, z: ComplexVector, real: bool) -> None:
    move = Move(1, np.arange(SLOTS)[None], real=real)
    close(returned(world, [z], move)[0], z.real if real else z, FRESH)


@settings(
    max_examples=examples(8),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_move(world: World, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sources, targets = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    vectors = list(rng.uniform(-1, 1, (sources, SLOTS)) + 1j * rng.uniform(-1, 1, (sources, SLOTS)))
    places = rng.integers(-1, sources * SLOTS, (targets, SLOTS))
    factor, real = 2.0 ** data.draw(st.integers(-5, 2)), data.draw(st.booleans())
    move = Move(sources, places, factor, real)
    for found, wanted in zip(returned(world, vectors, move), move.apply(vectors), strict=True):
        close(found, wanted, FRESH * max(1.0, factor))


def test_several_packings_of_one_visit(world: World, z: ComplexVector) -> None:
    server = world.server
    hidden, blind = server.blind([world.sent(z)])
    turned = Move(1, (np.arange(SLOTS)[None] + 3) % SLOTS, 0.5)
    packings = world.client.renew([server.dump(hidden[0])], [(STILL, 1), (turned, 1)])
    for data, move, wanted in zip(packings, (STILL, turned), (z, np.roll(z, -3) / 2), strict=True):
        (shown,) = server.unblind([server.load(one) for one in data], blind, move)
        close(world.read_complex(shown), wanted, FRESH)


def test_what_is_hidden_is_as_large_as_the_modulus_and_new_each_time(
    world: World, z: ComplexVector
) -> None:
    server, a = world.server, world.sent(z)
    seen = [world.read_complex(server.blind([a])[0][0]) for _ in range(2)]
    sizes = [np.abs(values).std() for values in seen]
    assert min(sizes) > 2.0**8 * np.abs(z).max()
    parts = [part for values in seen for part in (values.real, values.imag)]
    for i, one in enumerate(parts):
        for other in [*parts[:i], z.real, z.imag]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.2


def test_a_reply_of_something_else_is_taken_as_it_is(world: World, z: ComplexVector) -> None:
    """The server cannot tell; what it then has is under the mask still."""
    server = world.server
    _, blind = server.blind([world.sent(z)])
    (shown,) = server.unblind([world.sent(z)], blind, STILL)
    assert np.abs(world.read_complex(shown)).std() > 2.0**8


def test_refusals(world: World, z: ComplexVector) -> None:
    server, client, a = world.server, world.client, world.sent(z)
    hidden, blind = server.blind([a])
    two = Move(2, np.zeros((1, SLOTS), np.int64))
    data = [server.dump(hidden[0])]
    square = server.mul(a, a)
    for refused, reason in (
        (lambda: server.blind([]), "at least"),
        (lambda: server.blind([a, world.sent(z, 0)]), "equal levels"),
        (lambda: server.blind([square]), "scale degree 1"),
        (lambda: server.unblind([a], blind, two), "1 ciphertexts"),
        (lambda: server.unblind([a, a], blind, STILL), "needs 1 handles"),
        (lambda: server.unblind([square], blind, STILL), "scale degree 1"),
        (lambda: client.renew(data, [(two, 1)]), "1 ciphertexts"),
        (lambda: client.renew(data, [(STILL, 9)]), "level 9"),
        (lambda: Move(1, np.full((1, SLOTS), SLOTS)), "a move takes slots"),
        (lambda: Move(1, STILL.places, 3.0), "power of two"),
    ):
        with pytest.raises(PlanError, match=reason):
            refused()
    with pytest.raises(WireError):
        client.renew([data[0][:-5]], [(STILL, 1)])
