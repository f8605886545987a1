"""Choose ring, primes and rests for the polynomial circuit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from thex_hf.circuits.context import Context, Handles, Program, RangeBits, Steps
from thex_hf.circuits.flood import LOGIT_BITS, NO_FLOOD, Flood
from thex_hf.circuits.margin import flood_options, strong_enough, too_weak
from thex_hf.circuits.masks import SPARE_BITS
from thex_hf.circuits.parallel import ALONE, Together
from thex_hf.circuits.plan import KEY_SWITCHES, Plan
from thex_hf.circuits.planning import RINGS, count, shape_of
from thex_hf.circuits.ranges import bits_of
from thex_hf.circuits.shape import BUCKETS, Shape
from thex_hf.circuits.single.circuit import encode_polynomial
from thex_hf.circuits.single.folding import PolynomialLayers, fold_polynomial
from thex_hf.circuits.single.refresh_schedule import Route, routes
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128, Parameters
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights

EXIT_LEVEL = 1
SPECIAL_BITS = {8192: 16, 16384: 14, 32768: 14}
"""The key-switching prime exceeds the scale by that, or key noise dominates."""
SCALE_BITS = {8192: range(26, 46), 16384: range(28, 47), 32768: range(28, 53)}
REST_SECONDS = 0.1  # what a round is worth when rests are weighed against levels
UNCALIBRATED = 64.0


def polynomial_program(
    route: Route,
    bits: RangeBits,
    layers: PolynomialLayers,
    noise: Flood,
    together: Together = ALONE,
) -> Program:
    """The circuit with its weights, and the noise on its answer.

    ``together`` runs what may run side by side.
    """

    def start(engine: ServerEngine, store: PlaintextCache, request: list[Handles]) -> Steps:
        run = Context(engine, store, route.shape, bits, "power", noise=noise, together=together)
        return encode_polynomial(run, route, layers, request)

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
    of rests that may pay is tried, and what is cheapest by :func:`expected_cost` wins.
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
            _plan(weights, layers, route, parameters, bits, protocol, flood)
            for route, parameters in candidates(weights, tokens, bits, ring, protocol)
        ]
        best, plans = strong_enough(plans, flood, best)
        if plans:
            return min(plans, key=expected_cost)
    if best is not None:
        raise too_weak(protocol, rings, best)
    need = min(r.top_level for r in _routes(weights, tokens, bits, rings[-1], protocol))
    way_out = "use protocol='refresh', which rests in between"
    raise PlanError(
        f"{protocol}: no ring of {rings} carries {need} levels at 128-bit security and a "
        f"usable precision; " + (way_out if protocol == "one-shot" else "use a larger ring")
    )


def _routes(
    weights: EncoderWeights, tokens: int, bits: RangeBits, ring: int, protocol: str
) -> list[Route]:
    polynomial = weights.layers[0].polynomial
    assert polynomial is not None
    most = 0 if protocol == "one-shot" else len(bits.stream)
    shape = roomy_shape(weights, tokens, ring)
    return routes(shape, polynomial.power, EXIT_LEVEL, most)


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
) -> Iterator[tuple[Route, Parameters]]:
    """Routes of one ring that its 128-bit budget carries, each with its parameters."""
    for route in _routes(weights, tokens, bits, ring, protocol):
        if protocol == "refresh" and not route.rests and len(bits.stream):
            continue
        parameters = choose(ring, route, bits)
        if parameters is not None:
            yield route, parameters


def choose(ring: int, route: Route, bits: RangeBits) -> Parameters | None:
    """The largest scale that the ring's budget allows, or None when it is too small.

    The first prime holds the logits, and exceeds a stream that rests by
    :data:`~thex_hf.circuits.masks.SPARE_BITS`.
    """
    widest = max((bits.stream[stage] for stage in route.rests), default=0)
    for scale in reversed(SCALE_BITS[ring]):
        first = scale + LOGIT_BITS
        if route.rests:
            first = max(first, widest + SPARE_BITS)
        primes = (first,) + (scale,) * route.top_level
        special = min(60, MAX_MODULUS_BITS_128[ring] - sum(primes))
        if first <= special and scale + SPECIAL_BITS[ring] <= special:
            return Parameters(ring, primes, special, scale)
    return None


def _plan(
    weights: EncoderWeights,
    layers: PolynomialLayers,
    route: Route,
    parameters: Parameters,
    bits: RangeBits,
    protocol: str,
    flood: str,
) -> Plan:
    program = polynomial_program(route, bits, layers, NO_FLOOD)
    record = count(program, route.schedule, route.shape.geometry.slots)
    options = {
        "power": route.power,
        "rests": list(route.rests),
        "exit_level": route.exit_level,
        "stream_bits": list(bits.stream),
        **flood_options(layers, parameters, bits, flood),
    }
    return Plan.of(
        record,
        shape=route.shape,
        parameters=parameters,
        bits=bits,
        protocol=protocol,
        options=options,
        model=weights.fingerprint(),
        schedule=route.schedule,
    )


def route_of(plan: Plan) -> Route:
    """The route that a plan was made for."""
    options = plan.options
    return Route(plan.shape, options["power"], tuple(options["rests"]), options["exit_level"])


def expected_cost(plan: Plan) -> float:
    """About how many seconds a run takes: for comparing plans, not for telling users.

    A key switch costs about ``N log N`` times limbs times limbs plus one, anything else
    ``N`` times limbs; the factors were fitted to SEAL on one core.
    """
    degree = plan.parameters.ring_degree
    total = REST_SECONDS * plan.schedule.rounds
    for (verb, level), n in plan.operations.items():
        limbs = level + 1
        if verb in KEY_SWITCHES:
            total += n * 1.25e-9 * degree * math.log2(degree) * limbs * (limbs + 1)
        elif verb != "encode":
            total += n * 8e-9 * degree * limbs
    return total
