"""One suite for every slot backend in the registry: sums of handles times numbers."""

from __future__ import annotations

import numpy as np
import pytest
from conformance.slot_world import SLOTS, World, close

from thex_hf.backends.base import combine_by_products
from thex_hf.errors import PlanError


@pytest.fixture
def inputs() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.uniform(-1, 1, (5, SLOTS)) + 1j * rng.uniform(-1, 1, (5, SLOTS))


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("plain", [False, True])
def test_combine(world: World, inputs: np.ndarray, kind: type, plain: bool) -> None:
    rng = np.random.default_rng(4)
    weights, bias = rng.normal(size=(3, 5)).astype(kind), rng.normal(size=3).astype(kind)
    if kind is complex:
        weights, bias = weights * (0.6 - 0.8j), bias * 1j
    weights[1] = 0  # a row of zeros leaves the bias
    handles = [world.sent(a) for a in inputs]
    server = world.server
    out = (
        combine_by_products(server, handles, weights, bias)
        if plain
        else server.combine(handles, weights, bias)
    )
    assert [server.level(a) for a in out] == [0, 0, 0]
    for found, row, own in zip(out, weights, bias, strict=True):
        close(world.read_complex(found), row @ inputs + own, 1e-4)


def test_combine_refuses(world: World, inputs: np.ndarray) -> None:
    server, handles = world.server, [world.sent(a) for a in inputs[:2]]
    two, one = np.ones((1, 2)), np.zeros(1)
    with pytest.raises(PlanError, match="shape"):
        server.combine(handles, np.ones((1, 3)), one)
    with pytest.raises(PlanError, match="finite"):
        server.combine(handles, two * np.nan, one)
    with pytest.raises(PlanError, match="equal levels"):
        server.combine([handles[0], world.sent(inputs[1], 0)], two, one)
    with pytest.raises(PlanError, match="level 0"):
        server.combine([world.sent(a, 0) for a in inputs[:2]], two, one)
    product = server.mul(handles[0], handles[1])
    with pytest.raises(PlanError, match="degree"):
        server.combine([product, product], two, one)
