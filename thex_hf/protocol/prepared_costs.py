"""What the prepared protocol will cost on this machine: operations timed, then added up.

A batch of tickets is counted from its plan, each kind of operation on ciphertexts is timed once
with throwaway keys. A text is not counted: both halves are run on numbers that mean nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.bfv.client import BfvClient
from thex_hf.prepared.bfv.noise import linear_bits
from thex_hf.prepared.bfv.server import BfvServer
from thex_hf.prepared.bfv.slots import to_slots
from thex_hf.prepared.jobs import AT_ONCE, LinearJob, TermLayout
from thex_hf.prepared.masks import SEED_BYTES, ClientMasks
from thex_hf.prepared.network import Linear
from thex_hf.prepared.online import ClientShares, ServerShares
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.prepared.preparing import SLAB
from thex_hf.protocol.costs import REPEATS, Estimate

MOST_TIMED = 16
"""Rows and columns of a cross term that are timed; larger ones cost in proportion."""
WEIGHT = 1 << 10
"""Size of the weights that a product is timed with."""
TermKind = tuple[int, int, int, int]
"""``(o, k, width, batch)`` of a cross term: what one group of it costs depends on these."""


@dataclass(frozen=True)
class PreparationCosts:
    """Of one parameter set on this machine. Seconds are of one thread.

    Args:
        encrypt, decrypt: seconds a ciphertext, of the client.
        load, finish: seconds a ciphertext, of the server.
        multiply: seconds a weight that is multiplied with a ciphertext.
        draw: seconds a mask that is drawn.
        terms: seconds a group of a cross term, by its kind.
        up, down: bytes of a ciphertext.
        public_key: bytes of what the server gets.
    """

    encrypt: float
    decrypt: float
    load: float
    finish: float
    multiply: float
    draw: float
    terms: dict[TermKind, float]
    up: int
    down: int
    public_key: int


@dataclass(frozen=True)
class TicketForecast:
    """What preparing a ticket is expected to cost: an equal share of a whole batch.

    Args:
        tickets: of a batch.
        seconds: of one thread, both sides together.
        up_bytes: to the server.
        down_bytes: to the client.
        disk_bytes: that the client keeps until the ticket is spent.
    """

    tickets: int
    seconds: float
    up_bytes: int
    down_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class PreparedEstimate(Estimate):
    """As of a text, with what its ticket costs before; see :class:`TicketForecast`."""

    online_client_seconds: float
    batch_tickets: int
    ticket_seconds: float
    ticket_up_bytes: int
    ticket_down_bytes: int
    ticket_disk_bytes: int


def measure_preparation(plans: Sequence[PreparedPlan]) -> PreparationCosts:
    """Time the operations that ``plans`` use, with throwaway keys; takes some seconds.

    Args:
        plans: all of the same parameters; weights are not looked at.

    Raises:
        BackendUnavailable: the backend's library is missing.
    """
    parameters, numbers = plans[0].parameters, plans[0].numbers
    client, public = BfvClient.generate(parameters)
    server = BfvServer(parameters, public)
    slots = numbers.uniform((1, parameters.ring_degree))
    (up,) = client.encrypt(slots)
    one = server.load([up])
    weights = np.full((1, 1), WEIGHT, np.int64)
    noise = linear_bits(weights)
    (down,) = server.finish(server.linear(weights, one), slots, noise)
    many = np.repeat(one, AT_ONCE, axis=0)
    matrix = np.full((SLAB, AT_ONCE), WEIGHT, np.int64)
    server.linear(matrix[:1], many)  # the first product is slower
    masks, value = ClientMasks(numbers, [bytes(SEED_BYTES)]), plans[0].network.embeddings

    def seconds_of(kind: TermKind) -> float:
        o, k, width, batch = kind
        rows, inputs = min(o, MOST_TIMED), np.repeat(one, min(k, MOST_TIMED), axis=0)
        if width == 1:  # then one of the two is 1
            rows = 1
            factors = to_slots(numbers.uniform((len(inputs), batch, 1)))
            timed = _time(lambda: server.times(factors, inputs), 1)
        else:
            plain = numbers.uniform((rows, len(inputs), batch))
            timed = _time(lambda: server.cross(plain, inputs), 1)
        return timed * o * k / (rows * len(inputs))

    kinds = {_kind(layout) for plan in plans for layout in _terms(plan)}
    return PreparationCosts(
        encrypt=_time(lambda: client.encrypt(slots)),
        decrypt=_time(lambda: client.decrypt([down])),
        load=_time(lambda: server.load([up])),
        finish=_time(lambda: server.finish(one, slots, noise)),
        multiply=_time(lambda: server.linear(matrix, many), 1) / matrix.size,
        draw=_time(lambda: masks.of(value)) / value.size,
        terms={kind: seconds_of(kind) for kind in kinds},
        up=len(up),
        down=len(down),
        public_key=len(public),
    )


def forecast(plan: PreparedPlan, costs: PreparationCosts) -> TicketForecast:
    """Add up the operations of a batch, and divide them by its tickets."""
    batch, network = plan.batch, plan.network
    ups, downs = batch.up, batch.down
    seconds = ups * (costs.encrypt + costs.load) + downs * (costs.decrypt + costs.finish)
    seconds += costs.multiply * sum(_weights(step) for step in network.linears)
    seconds += sum(costs.terms[_kind(layout)] * layout.groups for layout in _terms(plan))
    drawn = sum(value.size for value in network.fresh)
    drawn += sum(step.out.size for step in network.linears)
    drawn += sum(value.size for step in network.products for value in step.revealed.values())
    drawn += sum(layout.instances * layout.o * layout.a for layout in _terms(plan))
    tickets = batch.tickets
    return TicketForecast(
        tickets,
        seconds / tickets + costs.draw * drawn,
        round(costs.up * ups / tickets),
        round(costs.down * downs / tickets),
        plan.row_bytes,
    )


def online_seconds(plan: PreparedPlan) -> tuple[float, float]:
    """Seconds of the client and of the server for one text, by a run on random numbers.

    Args:
        plan: with the weights.
    """
    numbers, seed = plan.numbers, bytes(SEED_BYTES)
    server = ServerShares(plan.network, numbers, seed)
    client = ClientShares(plan.network, numbers, seed, numbers.uniform((plan.layout.numbers,)))
    begin = time.perf_counter()
    message = client.start(np.zeros((plan.tokens, plan.hidden)))
    spent, waited = time.perf_counter() - begin, 0.0
    step: Callable[[Sequence[Words]], list[Words]] = server.start
    while True:
        begin = time.perf_counter()
        revealed = step(message)
        waited += time.perf_counter() - begin
        if server.finished:
            return spent, waited
        begin = time.perf_counter()
        message, step = client.answer(revealed), server.take
        spent += time.perf_counter() - begin


def estimate_prepared(plan: PreparedPlan, costs: PreparationCosts) -> PreparedEstimate:
    """What a text and its ticket are expected to cost; ``plan`` has the weights."""
    ticket, (client, server) = forecast(plan, costs), online_seconds(plan)
    return PreparedEstimate(
        tokens=plan.tokens,
        protocol=plan.protocol,
        ring_degree=plan.facts.ring_degree,
        modulus_bits=plan.facts.modulus_bits,
        levels=0,
        rounds=plan.rounds,
        key_switches=0,
        key_bytes=costs.public_key,
        up_bytes=plan.bytes_up,
        down_bytes=plan.bytes_down,
        plaintext_bytes=0,
        prepare_seconds=0.0,
        server_seconds=server,
        online_client_seconds=client,
        batch_tickets=ticket.tickets,
        ticket_seconds=ticket.seconds,
        ticket_up_bytes=ticket.up_bytes,
        ticket_down_bytes=ticket.down_bytes,
        ticket_disk_bytes=ticket.disk_bytes,
    )


def _terms(plan: PreparedPlan) -> Iterator[TermLayout]:
    for job in plan.batch.jobs:
        if not isinstance(job, LinearJob):
            yield from job.terms


def _kind(layout: TermLayout) -> TermKind:
    return layout.o, layout.k, layout.width, layout.batch


def _weights(step: Linear) -> int:
    return step.out.shape[1] * sum(value.shape[1] for value in step.inputs)


def _time(action: Callable[[], Any], repeats: int = REPEATS) -> float:
    samples = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        samples.append(time.perf_counter() - begin)
    return median(samples)
