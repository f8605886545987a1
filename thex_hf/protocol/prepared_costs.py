"""What the prepared protocol will cost on this machine: operations timed, then added up.

A batch of tickets is counted from its plan, each kind of operation on ciphertexts is timed with
throwaway keys, in rounds as those of the other protocols. A text is not counted: both halves are
run on numbers that mean nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.bfv.client import BfvClient
from thex_hf.prepared.bfv.noise import linear_bits
from thex_hf.prepared.bfv.server import BfvServer
from thex_hf.prepared.bfv.slots import to_slots
from thex_hf.prepared.field import Field
from thex_hf.prepared.jobs import AT_ONCE, LinearJob, TermLayout
from thex_hf.prepared.masks import SEED_BYTES, ClientMasks
from thex_hf.prepared.network import Linear
from thex_hf.prepared.online import ClientShares, ServerShares
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.prepared.preparing import SLAB
from thex_hf.protocol.costs import ROUNDS, Estimate, Times, range_of, time_rounds

MOST_TIMED = 16
"""Rows and columns of a cross term that are timed; larger ones cost in proportion."""
WEIGHT = 1 << 10
"""Size of the weights that a product is timed with."""
TermKind = tuple[int, int, int, int]
"""``(o, k, width, batch)`` of a cross term: what one group of it costs depends on these."""


@dataclass(frozen=True)
class PreparationCosts:
    """Of one parameter set on this machine. Seconds are of one thread, ``(ROUNDS,)`` each.

    Args:
        encrypt, decrypt: seconds a ciphertext, of the client.
        load, finish: seconds a ciphertext, of the server.
        multiply: seconds a weight that is multiplied with a ciphertext.
        draw: seconds a mask that is drawn.
        terms: seconds a group of a cross term, by its kind.
        up, down: bytes of a ciphertext.
        public_key: bytes of what the server gets.
    """

    encrypt: Times
    decrypt: Times
    load: Times
    finish: Times
    multiply: Times
    draw: Times
    terms: dict[TermKind, Times]
    up: int
    down: int
    public_key: int


@dataclass(frozen=True)
class TicketForecast:
    """What preparing a ticket is expected to cost: an equal share of a whole batch.

    Args:
        tickets: of a batch.
        seconds: of one thread, both sides together; the median of the rounds that were timed.
        seconds_range: the least and the most of them.
        up_bytes: to the server.
        down_bytes: to the client.
        disk_bytes: that the client keeps until the ticket is spent.
    """

    tickets: int
    seconds: float
    seconds_range: tuple[float, float]
    up_bytes: int
    down_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class PreparedEstimate(Estimate):
    """As of a text, with what its ticket costs before; see :class:`TicketForecast`."""

    online_client_seconds: float
    batch_tickets: int
    ticket_seconds: float
    ticket_seconds_range: tuple[float, float]
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
    masks, value = ClientMasks(numbers, [bytes(SEED_BYTES)]), plans[0].network.embeddings
    kinds = {_kind(layout) for plan in plans for layout in _terms(plan)}
    parts = {kind: _part_of(kind) for kind in kinds}
    times = time_rounds(
        {
            "encrypt": lambda: client.encrypt(slots),
            "decrypt": lambda: client.decrypt([down]),
            "load": lambda: server.load([up]),
            "finish": lambda: server.finish(one, slots, noise),
            "multiply": lambda: server.linear(matrix, many),
            "draw": lambda: masks.of(value),
        }
    )
    terms = time_rounds({kind: _term(server, one, numbers, kind) for kind in parts})
    return PreparationCosts(
        encrypt=times["encrypt"],
        decrypt=times["decrypt"],
        load=times["load"],
        finish=times["finish"],
        multiply=times["multiply"] / matrix.size,
        draw=times["draw"] / value.size,
        terms={kind: seconds / parts[kind] for kind, seconds in terms.items()},
        up=len(up),
        down=len(down),
        public_key=len(public),
    )


def _part_of(kind: TermKind) -> float:
    """The share of a group's products that are timed."""
    o, k, width, _ = kind
    rows = 1 if width == 1 else min(o, MOST_TIMED)
    return rows * min(k, MOST_TIMED) / (o * k)


def _term(server: BfvServer, one: Words, numbers: Field, kind: TermKind) -> Callable[[], Words]:
    """Some products of a group of a cross term."""
    o, k, width, batch = kind
    inputs = np.repeat(one, min(k, MOST_TIMED), axis=0)
    if width == 1:  # then one of o and k is 1
        factors = to_slots(numbers.uniform((len(inputs), batch, 1)))
        return lambda: server.times(factors, inputs)
    plain = numbers.uniform((min(o, MOST_TIMED), len(inputs), batch))
    return lambda: server.cross(plain, inputs)


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
    seconds = seconds / tickets + costs.draw * drawn
    return TicketForecast(
        tickets,
        float(np.median(seconds)),
        range_of(seconds),
        round(costs.up * ups / tickets),
        round(costs.down * downs / tickets),
        plan.row_bytes,
    )


def online_seconds(plan: PreparedPlan) -> tuple[Times, Times]:
    """Seconds of the client and of the server for one text, by runs on random numbers.

    Args:
        plan: with the weights.
    """
    runs = np.array([_online(plan) for _ in range(ROUNDS)])
    return runs[:, 0], runs[:, 1]


def _online(plan: PreparedPlan) -> tuple[float, float]:
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
        server_seconds=float(np.median(server)),
        server_seconds_range=range_of(server),
        online_client_seconds=float(np.median(client)),
        batch_tickets=ticket.tickets,
        ticket_seconds=ticket.seconds,
        ticket_seconds_range=ticket.seconds_range,
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
