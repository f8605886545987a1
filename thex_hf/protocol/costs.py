"""What a plan will cost on this machine: each primitive timed and weighed, then added up.

All primitives are timed several times, one round after the other, and each round is added up by
itself: how far the sums lie apart says how steady the machine is. No keys of the user are needed:
the throwaway keys made here are dropped again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from thex_hf._progress import steps
from thex_hf.backends.base import KeyRequest, SlotBackend, key_share
from thex_hf.circuits.plan import Plan
from thex_hf.ckks.engine import ClientEngine, Move, ServerEngine

K = TypeVar("K")

ROUNDS = 3
WIRE = ("load", "dump")
COMBINED = 8  # handles in, and as many out, that ``combine`` is timed with

Times = NDArray[np.float64]
"""Seconds by round."""


@dataclass(frozen=True)
class Costs:
    """Of one backend and parameter set on this machine.

    Args:
        seconds: by verb and level, ``(ROUNDS,)`` each.
        up: bytes of a fresh ciphertext by level.
        down: bytes of a computed ciphertext by level.
        rotation_key: bytes of one rotation or conjugation key that reaches the top level.
        relinearisation_key: bytes of a relinearisation key that reaches the top level.
        public_key: bytes of the public key.
    """

    seconds: dict[tuple[str, int], Times]
    up: dict[int, int]
    down: dict[int, int]
    rotation_key: int
    relinearisation_key: int
    public_key: int


@dataclass(frozen=True)
class Estimate:
    """Expected cost of one text under a plan. Seconds are of this machine, one thread.

    ``server_seconds`` is the median of the rounds that were timed, ``server_seconds_range`` the
    least and the most of them (twice the same where an engine was timed once).
    """

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
    server_seconds_range: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def measure_costs(backend: SlotBackend, plans: Sequence[Plan]) -> Costs:
    """Time the primitives that ``plans`` use, with throwaway keys; takes a few seconds.

    Args:
        backend: the engine to time.
        plans: all of the same parameters.

    Raises:
        BackendUnavailable: the backend's library is missing.
    """
    parameters = plans[0].parameters
    request = KeyRequest(parameters, (1,), relinearisation=True, conjugation=True, public=True)
    secret, evaluation = backend.generate(request)
    client = backend.client(parameters, secret)
    server = backend.server(parameters, evaluation, (1,))
    wanted = {pair for plan in plans for pair in plan.operations}
    actions: dict[tuple[str, int], Callable[[], Any]] = {}
    up, down = {}, {}
    for level in range(parameters.top_level + 1):
        fresh = client.encrypt(np.ones(parameters.slots), level)
        up[level] = len(fresh)
        down[level] = len(server.dump(server.rotate(server.load(fresh), 1)))
        for verb, action in _actions(client, server, level, _move(plans)).items():
            if verb in WIRE or (verb, level) in wanted:
                actions[verb, level] = action
    seconds = time_rounds(actions)
    for (verb, _), times in seconds.items():
        times /= 2 * COMBINED if verb == "combine" else 1
    return Costs(
        seconds,
        up,
        down,
        rotation_key=len(evaluation.rotations) // 2,  # one step, and the conjugation
        relinearisation_key=len(evaluation.relinearisation),
        public_key=len(evaluation.public),
    )


def _actions(
    client: ClientEngine, server: ServerEngine, level: int, move: Move
) -> dict[str, Callable[[], Any]]:
    vector = np.linspace(-1.0, 1.0, move.slots)
    data = client.encrypt(vector, level)
    a = server.load(data)
    other = server.load(client.encrypt(vector, level))  # a - a would be transparent
    shift = server.encode(vector, level, factor=False)
    (hidden,), blind = server.blind([a])
    ((renewed,),) = client.renew([server.dump(hidden)], [(move, level)])
    back = server.load(renewed)
    actions: dict[str, Callable[[], Any]] = {
        "encode": lambda: server.encode(vector, level, factor=False),
        "add": lambda: server.add(a, a),
        "sub": lambda: server.sub(a, other),
        "times_i": lambda: server.times_i(a),
        "add_plain": lambda: server.add_plain(a, shift),
        "rotate": lambda: server.rotate(a, 1),
        "conjugate": lambda: server.conjugate(a),
        "rerandomise": lambda: server.rerandomise(a),
        "blind": lambda: server.blind([a]),
        "unblind": lambda: server.unblind([back], blind, move),
        "load": lambda: server.load(data),
        "dump": lambda: server.dump(a),
    }
    if level:
        factor = server.encode(vector, level, factor=True)
        b = server.load(client.encrypt(vector, level))
        product, scaled = server.mul(a, b), server.mul_plain(a, factor)
        numbers = np.full((COMBINED, COMBINED), 0.5)
        actions |= {
            "combine": lambda: server.combine([a] * COMBINED, numbers, numbers[0]),
            "mul_plain": lambda: server.mul_plain(a, factor),
            "mul": lambda: server.mul(a, b),
            "relinearise": lambda: server.relinearise(product),
            "rescale": lambda: server.rescale(scaled),
            "mod_switch": lambda: server.mod_switch(a, level - 1),
        }
    return actions


def _move(plans: Sequence[Plan]) -> Move:
    """One ciphertext's share of what the plans' visits do: order kept, or not."""
    order = np.arange(plans[0].parameters.slots)
    parts = [part for plan in plans for visit in plan.schedule.round_trips for part in visit.parts]
    still = all(move.still for part in parts for move, _ in part.moves)
    return Move(1, (order if still else order[::-1])[None])


def time_rounds(actions: Mapping[K, Callable[[], Any]]) -> dict[K, Times]:
    """Seconds of each action: all of them in turn, :data:`ROUNDS` times, after one not counted."""
    out = {key: np.zeros(ROUNDS) for key in actions}
    for index in steps(range(-1, ROUNDS), "timing operations"):
        for key, action in actions.items():
            begin = time.perf_counter()
            action()
            if index >= 0:
                out[key][index] = time.perf_counter() - begin
    return out


def range_of(times: Times) -> tuple[float, float]:
    """The least and the most of some rounds."""
    return float(times.min()), float(times.max())


def estimate(plan: Plan, costs: Costs) -> Estimate:
    """Add up a plan's operations, messages and keys."""
    schedule, parameters = plan.schedule, plan.parameters
    parts = [part for visit in schedule.round_trips for part in visit.parts]
    ups = [*schedule.inputs, *(packing for part in parts for packing in part.returns)]
    downs = [*((part.sends, part.level) for part in parts), (schedule.answer, 0)]
    server, encoding = np.zeros(ROUNDS), np.zeros(ROUNDS)
    for (verb, level), count in plan.operations.items():
        total = encoding if verb == "encode" else server
        total += costs.seconds[verb, level] * count
    for verb, messages in (("load", ups), ("dump", downs)):
        for layout, level in messages:
            server += costs.seconds[verb, level] * layout.ciphertexts
    return Estimate(
        tokens=plan.shape.tokens,
        protocol=plan.protocol,
        ring_degree=parameters.ring_degree,
        modulus_bits=parameters.total_bits,
        levels=plan.levels,
        rounds=schedule.rounds,
        key_switches=plan.key_switches,
        key_bytes=_key_bytes(plan, costs),
        up_bytes=sum(costs.up[level] * lay.ciphertexts for lay, level in ups),
        down_bytes=sum(costs.down[level] * lay.ciphertexts for lay, level in downs),
        plaintext_bytes=plan.plaintext_limbs * parameters.ring_degree * 8,
        prepare_seconds=float(np.median(encoding)),
        server_seconds=float(np.median(server)),
        server_seconds_range=range_of(server),
    )


def _key_bytes(plan: Plan, costs: Costs) -> int:
    keys, parameters = plan.keys, plan.parameters
    reaches = [level for _, level in keys.rotations]
    reaches += [] if keys.conjugation is None else [keys.conjugation]
    total = round(sum(key_share(parameters, reach) for reach in reaches) * costs.rotation_key)
    if keys.relinearisation is not None:
        share = key_share(parameters, keys.relinearisation)
        total += round(share * costs.relinearisation_key)
    return total + (costs.public_key if keys.public else 0)
