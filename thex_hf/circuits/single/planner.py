"""Choose ring, primes and refresh points of the circuit for one text."""

from __future__ import annotations

from dataclasses import replace

from thex_hf.circuits.context import Circuit, CircuitSteps, Context, Handles
from thex_hf.circuits.flood import NO_FLOOD, Flood
from thex_hf.circuits.masks import RangeBits
from thex_hf.circuits.parallel import SEQUENTIAL, ParallelRunner
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.planning import shape_of
from thex_hf.circuits.polynomial.folding import fold_polynomial
from thex_hf.circuits.polynomial.maps import PolynomialLayers, terms_of
from thex_hf.circuits.polynomial.planning import (
    EXIT_LEVEL,
    Planner,
    largest_scale,
    most_points,
    operation_seconds,
)
from thex_hf.circuits.polynomial.refresh_schedule import SingleRefreshSchedule
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.circuits.shape import BUCKETS, Shape
from thex_hf.circuits.single.circuit import single_encoder
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights

SPECIAL_BITS = {8192: 16, 16384: 14, 32768: 14}
"""The key-switching prime exceeds the scale by that, or key noise dominates."""
SCALE_BITS = {8192: range(26, 46), 16384: range(28, 47), 32768: range(28, 53)}
ROUND_TRIP_SECONDS = 0.1  # what a round is worth when refreshes are weighed against levels


def single_circuit(
    refreshes: SingleRefreshSchedule,
    bits: RangeBits,
    layers: PolynomialLayers,
    noise: Flood,
    runner: ParallelRunner = SEQUENTIAL,
) -> Circuit:
    """The circuit with its weights, and the noise on its answer.

    ``runner`` runs what may run side by side.
    """

    def start(engine: ServerEngine, cache: PlaintextCache, request: list[Handles]) -> CircuitSteps:
        run = Context(engine, cache, refreshes.shape, bits, "power", noise=noise, runner=runner)
        return single_encoder(run, refreshes, layers, request)

    return start


def make_polynomial_plan(
    weights: EncoderWeights,
    tokens: int,
    bits: RangeBits,
    options: PlanOptions,
) -> Plan:
    """Plan ``refresh`` or ``one-shot`` for one bucket.

    The smallest ring that carries the circuit, or the one given, is taken; there every number
    of refresh points that may be worthwhile is tried, and what is cheapest by
    :func:`expected_seconds` wins. ``one-shot`` has none. By how much the flood on a logit exceeds
    the circuit's own error follows from the scale, hence from the ring: the plan's option
    ``margin_bits`` estimates it, and where the flood is ``strong`` smaller rings than reach
    :data:`~thex_hf.circuits.flood.STRONG_BITS` are passed over.

    Args:
        weights: the converted encoder.
        tokens: padded length, one of :data:`thex_hf.circuits.shape.BUCKETS`.
        bits: from :func:`thex_hf.circuits.polynomial.planning.stream_bits`.
        options: of ``refresh``, or of ``one-shot``, which refreshes nothing.

    Raises:
        PlanError: the form does not fit the protocol, no parameter set carries it, or none
            carries a strong flood.
    """
    layers = fold_polynomial(weights)
    protocol, rings = options.protocol, options.rings
    planner = Planner(
        weights,
        layers,
        bits,
        options,
        choices=lambda ring: refresh_schedules(weights, tokens, bits, ring, protocol),
        parameters=choose,
        circuit=lambda refreshes: single_circuit(refreshes, bits, layers, NO_FLOOD),
    )
    plan = planner.cheapest(expected_seconds)
    if plan is not None:
        return plan
    choices = refresh_schedules(weights, tokens, bits, rings[-1], protocol)
    need = min(refreshes.top_level for refreshes in choices)
    way_out = "use protocol='refresh', which rests in between"
    raise PlanError(
        f"{protocol}: no ring of {rings} carries {need} levels at 128-bit security and a "
        f"usable precision; " + (way_out if protocol == "one-shot" else "use a larger ring")
    )


def refresh_schedules(
    weights: EncoderWeights, tokens: int, bits: RangeBits, ring: int, protocol: str
) -> list[SingleRefreshSchedule]:
    """The best choice for each number of refresh points that the protocol allows."""
    shape, power = roomy(shape_of(weights, tokens, ring)), terms_of(weights.layers[0]).power
    return SingleRefreshSchedule.best(shape, power, EXIT_LEVEL, most_points(bits, protocol))


def roomy(shape: Shape) -> Shape:
    """A shape, or that of more tokens where this fills feature rows to spare."""
    while shape.geometry.features > shape.hidden and 2 * shape.tokens in BUCKETS:
        larger = shape.for_tokens(2 * shape.tokens)
        if larger.geometry.tile == shape.geometry.tile:
            break
        shape = larger
    return few_baby_steps(shape)


def few_baby_steps(shape: Shape) -> Shape:
    """At most ``sqrt(F)`` baby steps, for nearly every matrix here has a single output.

    Giant steps are taken a level lower, and processes share no more than baby steps.
    """
    most = 1 << (shape.geometry.features.bit_length() - 1) // 2
    return replace(shape, geometry=replace(shape.geometry, most_baby_steps=most))


def choose(ring: int, refreshes: SingleRefreshSchedule, bits: RangeBits) -> Parameters | None:
    """The largest scale of a ring, or None; the key-switching prime takes all bits left over."""

    def special_bits(scale: int, first: int, left: int) -> int | None:
        special = min(60, left)
        return special if special >= max(first, scale + SPECIAL_BITS[ring]) else None

    return largest_scale(ring, refreshes, bits, SCALE_BITS[ring], special_bits)


def expected_seconds(plan: Plan) -> float:
    """About how many seconds a run takes: for comparing plans, not for telling users."""
    return ROUND_TRIP_SECONDS * plan.schedule.rounds + operation_seconds(plan, {})
