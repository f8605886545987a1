"""Choose ring, primes and rests for the polynomial circuit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from thex_hf.circuits.context import Circuit, CircuitSteps, Context, Handles, RangeBits
from thex_hf.circuits.flood import LOGIT_BITS, NO_FLOOD, Flood
from thex_hf.circuits.masks import SPARE_BITS
from thex_hf.circuits.parallel import SEQUENTIAL, ParallelRunner
from thex_hf.circuits.plan import KEY_SWITCHES, Plan
from thex_hf.circuits.planning import RINGS, count, shape_of
from thex_hf.circuits.polynomial.folding import PolynomialLayers, fold_polynomial
from thex_hf.circuits.polynomial.margin import flood_options, strong_enough, too_weak
from thex_hf.circuits.ranges import bits_of
from thex_hf.circuits.shape import BUCKETS, Shape
from thex_hf.circuits.single.circuit import single_encoder
from thex_hf.circuits.single.refresh_schedule import SingleRefreshSchedule, refresh_schedules
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128, Parameters
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights

EXIT_LEVEL = 1
SPECIAL_BITS = {8192: 16, 16384: 14, 32768: 14}
"""The key-switching prime exceeds the scale by that, or key noise dominates."""
SCALE_BITS = {8192: range(26, 46), 16384: range(28, 47), 32768: range(28, 53)}
ROUND_TRIP_SECONDS = 0.1  # what a round is worth when rests are weighed against levels
UNCALIBRATED = 64.0


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


def stream_bits(weights: EncoderWeights, ranges: Sequence[Mapping[str, float]] | None) -> RangeBits:
    """For each stage, bits of the stream at its end: after attention, and after the FFN."""
    out = []
    for index in range(len(weights.layers)):
        seen = ranges[index] if ranges else {}
        after = ranges[index + 1] if ranges and index + 1 < len(ranges) else {}
        out.append(bits_of(seen.get("attention_out", UNCALIBRATED)))
        out.append(bits_of(after.get("stream_in", UNCALIBRATED)))
    return RangeBits((), tuple(out[:-1]))


def make_polynomial_plan(
    weights: EncoderWeights,
    tokens: int,
    bits: RangeBits,
    *,
    protocol: str,
    ring_degree: int | None = None,
    flood: str = "light",
) -> Plan:
    """Plan ``refresh`` or ``one-shot`` for one bucket.

    The smallest ring that carries the circuit, or the one given, is taken; there every number
    of rests that may pay is tried, and what is cheapest by :func:`expected_seconds` wins.
    ``one-shot`` never rests. By how much the flood on a logit exceeds the circuit's own error
    follows from the scale, hence from the ring: the plan's option ``margin_bits`` estimates it,
    and where ``flood`` is ``strong`` smaller rings than reach
    :data:`~thex_hf.circuits.flood.STRONG_BITS` are passed over.

    Args:
        weights: the converted encoder.
        tokens: padded length, one of :data:`thex_hf.circuits.shape.BUCKETS`.
        bits: from :func:`stream_bits`.
        protocol: ``refresh`` or ``one-shot``.
        ring_degree: N; the smallest that will do if None.
        flood: one of :data:`thex_hf.circuits.flood.FLOODS`.

    Raises:
        PlanError: the form does not fit the protocol, no parameter set carries it, or none
            carries a strong flood.
    """
    layers = fold_polynomial(weights)
    if ring_degree is not None and ring_degree not in RINGS:
        raise PlanError(f"ring must be one of {RINGS}, got {ring_degree}")
    rings = RINGS if ring_degree is None else (ring_degree,)
    best = None
    for ring in rings:
        plans = [
            _plan(weights, layers, refreshes, parameters, bits, protocol, flood)
            for refreshes, parameters in candidates(weights, tokens, bits, ring, protocol)
        ]
        best, plans = strong_enough(plans, flood, best)
        if plans:
            return min(plans, key=expected_seconds)
    if best is not None:
        raise too_weak(protocol, rings, best)
    need = min(r.top_level for r in _refresh_schedules(weights, tokens, bits, rings[-1], protocol))
    way_out = "use protocol='refresh', which rests in between"
    raise PlanError(
        f"{protocol}: no ring of {rings} carries {need} levels at 128-bit security and a "
        f"usable precision; " + (way_out if protocol == "one-shot" else "use a larger ring")
    )


def _refresh_schedules(
    weights: EncoderWeights, tokens: int, bits: RangeBits, ring: int, protocol: str
) -> list[SingleRefreshSchedule]:
    polynomial = weights.layers[0].polynomial
    assert polynomial is not None
    most = 0 if protocol == "one-shot" else len(bits.stream)
    shape = roomy_shape(weights, tokens, ring)
    return refresh_schedules(shape, polynomial.power, EXIT_LEVEL, most)


def roomy_shape(weights: EncoderWeights, tokens: int, ring: int) -> Shape:
    """The shape for ``tokens`` tokens, or for more where that fills feature rows to spare."""
    return roomy(shape_of(weights, tokens, ring))


def roomy(shape: Shape) -> Shape:
    """A shape, or that of a larger bucket where it fills feature rows to spare."""
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


def candidates(
    weights: EncoderWeights, tokens: int, bits: RangeBits, ring: int, protocol: str
) -> Iterator[tuple[SingleRefreshSchedule, Parameters]]:
    """Routes of one ring that its 128-bit budget carries, each with its parameters."""
    for refreshes in _refresh_schedules(weights, tokens, bits, ring, protocol):
        if protocol == "refresh" and not refreshes.points and len(bits.stream):
            continue
        parameters = choose(ring, refreshes, bits)
        if parameters is not None:
            yield refreshes, parameters


def choose(ring: int, refreshes: SingleRefreshSchedule, bits: RangeBits) -> Parameters | None:
    """The largest scale that the ring's budget allows, or None when it is too small.

    The first prime holds the logits, and exceeds a stream that rests by
    :data:`~thex_hf.circuits.masks.SPARE_BITS`.
    """
    widest = max((bits.stream[stage] for stage in refreshes.points), default=0)
    for scale in reversed(SCALE_BITS[ring]):
        first = scale + LOGIT_BITS
        if refreshes.points:
            first = max(first, widest + SPARE_BITS)
        primes = (first,) + (scale,) * refreshes.top_level
        special = min(60, MAX_MODULUS_BITS_128[ring] - sum(primes))
        if first <= special and scale + SPECIAL_BITS[ring] <= special:
            return Parameters(ring, primes, special, scale)
    return None


def _plan(
    weights: EncoderWeights,
    layers: PolynomialLayers,
    refreshes: SingleRefreshSchedule,
    parameters: Parameters,
    bits: RangeBits,
    protocol: str,
    flood: str,
) -> Plan:
    circuit = single_circuit(refreshes, bits, layers, NO_FLOOD)
    record = count(circuit, refreshes.schedule, refreshes.shape.geometry.slots)
    options = {
        "power": refreshes.power,
        "rests": list(refreshes.points),
        "exit_level": refreshes.exit_level,
        "stream_bits": list(bits.stream),
        **flood_options(layers, parameters, bits, flood),
    }
    return Plan.of(
        record,
        shape=refreshes.shape,
        parameters=parameters,
        bits=bits,
        protocol=protocol,
        options=options,
        model=weights.fingerprint(),
        schedule=refreshes.schedule,
    )


def refresh_schedule_of(plan: Plan) -> SingleRefreshSchedule:
    """The route that a plan was made for."""
    options = plan.options
    return SingleRefreshSchedule(
        plan.shape, options["power"], tuple(options["rests"]), options["exit_level"]
    )


def expected_seconds(plan: Plan) -> float:
    """About how many seconds a run takes: for comparing plans, not for telling users.

    A key switch costs about ``N log N`` times limbs times limbs plus one, anything else
    ``N`` times limbs; the factors were fitted to SEAL on one core.
    """
    degree = plan.parameters.ring_degree
    total = ROUND_TRIP_SECONDS * plan.schedule.rounds
    for (verb, level), n in plan.operations.items():
        limbs = level + 1
        if verb in KEY_SWITCHES:
            total += n * 1.25e-9 * degree * math.log2(degree) * limbs * (limbs + 1)
        elif verb != "encode":
            total += n * 8e-9 * degree * limbs
    return total
