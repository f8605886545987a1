"""What a plan will cost on this machine: each primitive timed and weighed, then added up.

No keys of the user are needed: the throwaway keys made here are dropped again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from thex_hf.backends.base import KeyRequest, SlotBackend
from thex_hf.encrypted.plan import Plan
from thex_hf.layout.engines import ClientEngine, ServerEngine
from thex_hf.layout.parameters import Parameters

REPEATS = 5


@dataclass(frozen=True)
class Costs:
    """Medians for one backend and parameter set on this machine.

    Args:
        seconds: by verb and level.
        up: bytes of a fresh ciphertext by level.
        down: bytes of a computed ciphertext by level.
        rotation_key: bytes of one rotation key.
        relinearisation_key: bytes of the relinearisation key.
    """

    seconds: dict[tuple[str, int], float]
    up: dict[int, int]
    down: dict[int, int]
    rotation_key: int
    relinearisation_key: int


@dataclass(frozen=True)
class Estimate:
    """Expected cost of one text under a plan. Seconds are of this machine, one thread."""

    tokens: int
    protocol: str
    ring_degree: int
    modulus_bits: int
    levels: int
    rounds: int
    key_switches: int
    key_bytes: int
    up_bytes: int
    down_bytes: int
    plaintext_bytes: int
    prepare_seconds: float
    server_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def measure_costs(backend: SlotBackend, parameters: Parameters) -> Costs:
    """Time every primitive at every level with throwaway keys; takes a few seconds.

    Raises:
        BackendUnavailable: the backend's library is missing.
    """
    secret, evaluation = backend.generate(KeyRequest(parameters, (1,), relinearisation=True))
    client = backend.client(parameters, secret)
    server = backend.server(parameters, evaluation, (1,))
    seconds: dict[tuple[str, int], float] = {}
    up, down = {}, {}
    for level in range(parameters.top_level + 1):
        fresh = client.encrypt(np.ones(parameters.slots), level)
        up[level] = len(fresh)
        down[level] = len(server.dump(server.rotate(server.load(fresh), 1)))
        for verb, action in _actions(client, server, level, parameters.slots).items():
            seconds[verb, level] = _time(action)
    return Costs(seconds, up, down, len(evaluation.rotations), len(evaluation.relinearisation))


def _actions(
    client: ClientEngine, server: ServerEngine, level: int, slots: int
) -> dict[str, Callable[[], Any]]:
    vector = np.linspace(-1.0, 1.0, slots)
    data = client.encrypt(vector, level)
    a = server.load(data)
    shift = server.encode(vector, level, factor=False)
    actions: dict[str, Callable[[], Any]] = {
        "encode": lambda: server.encode(vector, level, factor=False),
        "add": lambda: server.add(a, a),
        "add_plain": lambda: server.add_plain(a, shift),
        "rotate": lambda: server.rotate(a, 1),
        "load": lambda: server.load(data),
        "dump": lambda: server.dump(a),
    }
    if level:
        factor = server.encode(vector, level, factor=True)
        b = server.load(client.encrypt(vector, level))
        product, scaled = server.mul(a, b), server.mul_plain(a, factor)
        actions |= {
            "mul_plain": lambda: server.mul_plain(a, factor),
            "mul": lambda: server.mul(a, b),
            "relinearise": lambda: server.relinearise(product),
            "rescale": lambda: server.rescale(scaled),
            "mod_switch": lambda: server.mod_switch(a, level - 1),
        }
    return actions


def _time(action: Callable[[], Any]) -> float:
    samples = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        action()
        samples.append(time.perf_counter() - begin)
    return median(samples)


def estimate(plan: Plan, costs: Costs) -> Estimate:
    """Add up a plan's operations, messages and keys."""
    schedule, parameters = plan.schedule, plan.parameters
    parts = [part for visit in schedule.visits for part in visit.parts]
    ups = [*schedule.request, *(packing for part in parts for packing in part.returns)]
    downs = [*((part.sends, part.level) for part in parts), (schedule.answer, 0)]
    server = sum(costs.seconds[key] * n for key, n in plan.operations.items() if key[0] != "encode")
    server += sum(costs.seconds["load", level] * lay.ciphertexts for lay, level in ups)
    server += sum(costs.seconds["dump", level] * lay.ciphertexts for lay, level in downs)
    encodes = {k: n for k, n in plan.operations.items() if k[0] == "encode"}
    return Estimate(
        tokens=plan.shape.tokens,
        protocol=plan.protocol,
        ring_degree=parameters.ring_degree,
        modulus_bits=parameters.total_bits,
        levels=plan.levels,
        rounds=schedule.rounds,
        key_switches=plan.key_switches,
        key_bytes=len(plan.rotations) * costs.rotation_key + costs.relinearisation_key,
        up_bytes=sum(costs.up[level] * lay.ciphertexts for lay, level in ups),
        down_bytes=sum(costs.down[level] * lay.ciphertexts for lay, level in downs),
        plaintext_bytes=plan.plaintext_limbs * parameters.ring_degree * 8,
        prepare_seconds=sum(costs.seconds[key] * n for key, n in encodes.items()),
        server_seconds=server,
    )
