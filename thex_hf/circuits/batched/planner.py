"""Choose ring, primes and rests for a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from thex_hf.circuits.batched.circuit import batched_encoder
from thex_hf.circuits.batched.context import BatchContext
from thex_hf.circuits.batched.folding import BatchLayers, fold_batch
from thex_hf.circuits.batched.refresh_schedule import (
    BatchedRefreshSchedule,
    batched_refresh_schedules,
)
from thex_hf.circuits.context import Circuit, CircuitSteps, Handles, RangeBits
from thex_hf.circuits.flood import LOGIT_BITS, NO_FLOOD, Flood
from thex_hf.circuits.masks import SPARE_BITS
from thex_hf.circuits.plan import KEY_SWITCHES, Plan
from thex_hf.circuits.planning import RINGS, count, shape_of
from thex_hf.circuits.polynomial.folding import fold_polynomial, terms_of
from thex_hf.circuits.polynomial.margin import flood_options, strong_enough, too_weak
from thex_hf.circuits.ranges import bits_of
from thex_hf.circuits.single.planner import (
    EXIT_LEVEL,
    expected_seconds,
    stream_bits,
)
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128, Parameters
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights

PACKING = "batch"
SPECIAL_BITS = 16  # the key-switching prime exceeds the scale by that, or key noise dominates
SCALE_BITS = {8192: range(26, 46), 16384: range(29, 46), 32768: range(30, 51)}
COMBINE_SECONDS = 1.7e-7  # a word of one part of a handle that ``combine`` reads or writes
CLIENT_SECONDS = 2.4e-7  # a word of one part that crosses the wire: both sides together


def batched_circuit(
    refreshes: BatchedRefreshSchedule,
    bits: RangeBits,
    layers: BatchLayers,
    noise: Flood,
) -> Circuit:
    """The circuit with its weights and the noise on its answer."""

    def start(engine: ServerEngine, cache: PlaintextCache, request: list[Handles]) -> CircuitSteps:
        run = BatchContext(engine, cache, refreshes, bits, noise)
        return batched_encoder(run, layers, request)

    return start


def batch_bits(weights: EncoderWeights, ranges: Sequence[Mapping[str, float]] | None) -> RangeBits:
    """For each stage, bits of what may rest at its end: context, or stream after the FFN.

    A context is a mean of values times weights, so the calibrated ``scores`` and ``value``
    bound it.
    """
    out = list(stream_bits(weights, ranges).stream)
    for index, layer in enumerate(weights.layers if ranges else ()):
        assert ranges is not None
        terms, seen = terms_of(layer), ranges[index]
        if "scores" in seen and "value" in seen:
            most = terms.score_scale * (seen["scores"] + np.abs(terms.score_shift)) ** terms.power
            out[2 * index : 2 * index + 1] = [bits_of(float(most.max()) * seen["value"])]
    return RangeBits((), tuple(out[: 2 * len(weights.layers) - 1]))


def make_batch_plan(
    weights: EncoderWeights,
    tokens: int,
    bits: RangeBits,
    *,
    protocol: str = "refresh",
    ring_degree: int | None = None,
    flood: str = "light",
) -> Plan:
    """Plan a batch of texts of one bucket; the plan's option ``sentences`` says how many.

    Of all rings that carry the circuit, or of the one given, and of every number of rests
    that may pay, the plan is taken that costs least for each text.

    Args:
        weights: the converted encoder, of the polynomial form.
        tokens: padded length, one of :data:`thex_hf.circuits.shape.BUCKETS`.
        bits: from :func:`batch_bits`.
        protocol: ``refresh``, or ``one-shot``, which never rests.
        ring_degree: N; the best if None.
        flood: one of :data:`thex_hf.circuits.flood.FLOODS`.

    Raises:
        PlanError: the form does not fit, no parameter set carries the circuit, or none carries
            a strong flood.
    """
    layers, single = fold_batch(weights), fold_polynomial(weights)
    if ring_degree is not None and ring_degree not in RINGS:
        raise PlanError(f"ring must be one of {RINGS}, got {ring_degree}")
    rings = RINGS if ring_degree is None else (ring_degree,)
    best = None
    for ring in rings:
        plans = []
        for refreshes, parameters in _candidates(weights, tokens, bits, ring, protocol):
            noise = flood_options(single, parameters, bits, flood)
            plans.append(_plan(weights, layers, refreshes, parameters, bits, protocol, noise))
        best, plans = strong_enough(plans, flood, best)
        if plans:
            return min(plans, key=expected_batch_seconds)
    if best is not None:
        raise too_weak(protocol, rings, best)
    raise PlanError(
        f"{protocol}: no ring of {rings} carries a batch of {tokens} tokens at 128-bit security "
        f"and a usable precision; classify the texts one by one, or use a larger ring"
    )


def _candidates(
    weights: EncoderWeights, tokens: int, bits: RangeBits, ring: int, protocol: str
) -> Iterator[tuple[BatchedRefreshSchedule, Parameters]]:
    """Routes of one ring that its 128-bit budget carries, each with its parameters."""
    most = 0 if protocol == "one-shot" else len(bits.stream)
    power = terms_of(weights.layers[0]).power
    for refreshes in batched_refresh_schedules(
        shape_of(weights, tokens, ring), power, EXIT_LEVEL, most
    ):
        if protocol == "refresh" and not refreshes.points:
            continue
        parameters = choose_for_batch(ring, refreshes, bits)
        if parameters is not None:
            yield refreshes, parameters


def choose_for_batch(
    ring: int, refreshes: BatchedRefreshSchedule, bits: RangeBits
) -> Parameters | None:
    """The largest scale that the ring's budget allows, or None when it is too small."""
    widest = max((bits.stream[stage] for stage in refreshes.points), default=0)
    for scale in reversed(SCALE_BITS[ring]):
        first = scale + LOGIT_BITS
        if refreshes.points:
            first = max(first, widest + SPARE_BITS)
        special = min(60, max(scale + SPECIAL_BITS, first))
        primes = (first,) + (scale,) * refreshes.top_level
        if first <= 60 and sum(primes) + special <= MAX_MODULUS_BITS_128[ring]:
            return Parameters(ring, primes, special, scale)
    return None


def _plan(
    weights: EncoderWeights,
    layers: BatchLayers,
    refreshes: BatchedRefreshSchedule,
    parameters: Parameters,
    bits: RangeBits,
    protocol: str,
    noise: Mapping[str, int],
) -> Plan:
    circuit = batched_circuit(refreshes, bits, layers, NO_FLOOD)
    record = count(circuit, refreshes.schedule, refreshes.shape.geometry.slots)
    options = {
        "packing": PACKING,
        "sentences": refreshes.texts,
        "power": refreshes.power,
        "rests": list(refreshes.points),
        "exit_level": refreshes.exit_level,
        "stream_bits": list(bits.stream),
        **noise,
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


def is_batch(plan: Plan) -> bool:
    """Whether ``plan`` was made here."""
    return plan.options.get("packing") == PACKING


def batched_refresh_schedule_of(plan: Plan) -> BatchedRefreshSchedule:
    """The route that a plan was made for."""
    options = plan.options
    return BatchedRefreshSchedule(
        plan.shape, options["power"], tuple(options["rests"]), options["exit_level"]
    )


def expected_batch_seconds(plan: Plan) -> float:
    """About how many seconds one whole request takes, the client's included: for comparing."""
    degree, schedule = plan.parameters.ring_degree, plan.schedule
    total = 0.0
    for (verb, level), n in plan.operations.items():
        limbs = level + 1
        if verb in KEY_SWITCHES:
            total += n * 1.25e-9 * degree * math.log2(degree) * limbs * (limbs + 1)
        elif verb == "combine":
            total += n * COMBINE_SECONDS * degree * limbs
        elif verb == "mul":
            total += n * 2e-8 * degree * limbs
        elif verb != "encode":
            total += n * 8e-9 * degree * limbs
    parts = [part for round_trip in schedule.round_trips for part in round_trip.parts]
    ups = [*schedule.inputs, *(packing for part in parts for packing in part.returns)]
    downs = [(part.sends, part.level) for part in parts]
    words = sum(layout.ciphertexts * (level + 1) for layout, level in [*ups, *downs])
    return total + words * CLIENT_SECONDS * degree


def batching_is_faster(batch: Plan, single: Plan, texts: int, processes: int = 1) -> bool:
    """Whether ``texts`` texts are expected to be done sooner in batches than one by one.

    Args:
        batch: from :func:`make_batch_plan`.
        single: of the same model and bucket, for one text.
        texts: how many there are.
        processes: that work in parallel, on texts or on batches.
    """
    rounds = math.ceil(math.ceil(texts / batch.options["sentences"]) / processes)
    each = math.ceil(texts / processes)
    return bool(rounds * expected_batch_seconds(batch) < each * expected_seconds(single))
