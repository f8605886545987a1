"""The noise model against SEAL: same operations, error within a factor of two."""

from __future__ import annotations

import numpy as np
import pytest

from thex_hf.backends.base import KeyRequest, SlotBackend
from thex_hf.backends.clear.backend import BACKEND as CLEAR
from thex_hf.backends.numerics.noise import NoiseModel
from thex_hf.backends.numerics.ntt import primes_of
from thex_hf.backends.registry import get_backend
from thex_hf.ckks.engine import Vector
from thex_hf.ckks.parameters import Parameters

DEEP = Parameters(8192, (50, 38, 38, 38), 54, 38)
ROTATIONS = tuple(range(1, 13))
KINDS = [
    "fresh",
    "mul_plain, rescale",
    "rotate",
    "mul, relinearise, rescale",
    "mul, rescale, relinearise",
    "masked 2^34",
    "refreshed 2^34",
]


def measure(backend: SlotBackend, level: int) -> dict[str, Vector]:
    """Errors of each kind of operation, one value for each slot."""
    secret, evaluation = backend.generate(KeyRequest(DEEP, ROTATIONS, True))
    client = backend.client(DEEP, secret)
    server = backend.server(DEEP, evaluation, ROTATIONS)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, DEEP.slots))
    mask = rng.uniform(-1, 1, DEEP.slots) * 2.0**34
    a, b = (server.load(client.encrypt(v, level)) for v in (x, y))
    bias = DEEP.scale / primes_of(DEEP)[level]
    product = server.mul(a, b)
    plain = server.encode(y, level, factor=True)
    masked = server.add_plain(a, server.encode(mask, level, factor=False))
    seen = client.decrypt(server.dump(masked))
    again = server.load(client.encrypt(seen, level))
    unmasked = server.add_plain(again, server.encode(-mask, level, factor=False))

    def error(handle: object, truth: Vector) -> Vector:
        return client.decrypt(server.dump(handle)) - truth

    return {
        "fresh": error(a, x),
        "mul_plain, rescale": error(server.rescale(server.mul_plain(a, plain)), x * y),
        "rotate": error(server.rotate(a, 1), np.roll(x, -1)),
        "mul, relinearise, rescale": error(
            server.rescale(server.relinearise(product)), x * y * bias
        ),
        "mul, rescale, relinearise": error(
            server.relinearise(server.rescale(product)), x * y * bias
        ),
        "masked 2^34": seen - (x + mask),
        "refreshed 2^34": error(unmasked, x),
        "slot 0": np.array(
            [error(server.rotate(a, step), np.roll(x, -step))[0] for step in ROTATIONS]
        ),
    }


@pytest.fixture(scope="module", params=[1, 3])
def pair(request: pytest.FixtureRequest) -> tuple[dict[str, Vector], dict[str, Vector]]:
    seal = get_backend("seal")
    usable, reason = seal.available()
    if not usable:
        pytest.skip(reason)
    return measure(seal, request.param), measure(CLEAR, request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_clear_engine_errs_as_much_as_seal(
    pair: tuple[dict[str, Vector], dict[str, Vector]], kind: str
) -> None:
    seal, clear = (engine[kind] for engine in pair)
    assert 0.5 < clear.std() / seal.std() < 2
    assert abs(seal.mean()) < 0.2 * seal.std()
    tails = [np.quantile(np.abs(errors), 0.999) for errors in (clear, seal)]
    assert 0.4 < tails[0] / tails[1] < 2.5


def test_slot_zero_bears_most_of_a_key_switch(
    pair: tuple[dict[str, Vector], dict[str, Vector]],
) -> None:
    seal, clear = (np.sqrt(np.mean(engine["slot 0"] ** 2)) for engine in pair)
    assert 1 / 4 < clear / seal < 4  # twelve draws
    assert seal > 3 * pair[0]["rotate"].std()


def test_formulas_give_the_measured_spread(
    pair: tuple[dict[str, Vector], dict[str, Vector]],
) -> None:
    model, seal = NoiseModel(DEEP, np.random.default_rng(0)), pair[0]

    def rms(*parts: Vector | float) -> float:
        return float(np.sqrt(sum(np.mean(np.square(part)) for part in parts)))

    fresh = rms(model.fresh(DEEP.scale), model.encode(DEEP.scale))
    two, three = (model.rescale(size, DEEP.scale) for size in (2, 3))
    # each factor is uniform on [-1, 1]: it passes a third of the other's variance
    passed = fresh / np.sqrt(3)
    wanted = {
        "fresh": fresh,
        "mul_plain, rescale": rms(two, passed),
        "rotate": rms(model.key_switch(3, DEEP.scale), fresh),
        "mul, relinearise, rescale": rms(two, passed, passed),
        "mul, rescale, relinearise": rms(three, model.key_switch(2, DEEP.scale)),
        "masked 2^34": model.float_error(np.full(2, 2.0**34 / np.sqrt(3))),
    }
    for kind, std in wanted.items():
        assert 0.5 < std / seal[kind].std() < 2, kind


def test_rescaling_at_size_three_costs_a_hundredfold() -> None:
    model = NoiseModel(DEEP, np.random.default_rng(0))
    two, three = (np.sqrt(np.mean(model.rounding(size) ** 2)) for size in (2, 3))
    assert three / two == pytest.approx(np.sqrt(4 * DEEP.ring_degree / 3), rel=0.1)
