from __future__ import annotations

import numpy as np
import pytest
from conformance.slot_world import SLOTS, SMALL, STEPS, World

from thex_hf.backends.base import KeyRequest
from thex_hf.backends.registry import find_backend, get_backend, list_backends
from thex_hf.ckks.engine import Vector
from thex_hf.protocol.engines import CircuitBackend

WITH_SLOTS = [
    name for name in list_backends() if not isinstance(find_backend(name), CircuitBackend)
]
"""The others have a suite of their own, in test_circuit_engines.py."""


@pytest.fixture(scope="module", params=WITH_SLOTS)
def world(request: pytest.FixtureRequest) -> World:
    backend = get_backend(request.param)
    usable, reason = backend.available()
    if not usable:
        pytest.skip(reason)
    secret, evaluation = backend.generate(KeyRequest(SMALL, STEPS, True, True, True))
    client = backend.client(SMALL, secret)
    return World(backend, secret, evaluation, client, backend.server(SMALL, evaluation, STEPS))


@pytest.fixture
def x() -> Vector:
    return np.random.default_rng(1).uniform(-1, 1, SLOTS)


@pytest.fixture
def y() -> Vector:
    return np.random.default_rng(2).uniform(-1, 1, SLOTS)
