"""Choose ring, primes and refresh points for a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from thex_hf.circuits.batched.circuit import batched_encoder
from thex_hf.circuits.batched.context import BatchContext
from thex_hf.circuits.context import Circuit, CircuitSteps, Handles
from thex_hf.circuits.flood import NO_FLOOD, Flood
from thex_hf.circuits.masks import RangeBits, bits_of
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.planning import shape_of
from thex_hf.circuits.polynomial.folding import BatchLayers, fold_batch, fold_polynomial
from thex_hf.circuits.polynomial.maps import terms_of
from thex_hf.circuits.polynomial.planning import (
    EXIT_LEVEL,
    Planner,
    largest_scale,
    most_points,
    operation_seconds,
    stream_bits,
)
from thex_hf.circuits.polynomial.refresh_schedule import BatchedRefreshSchedule
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.circuits.single.planner import expected_seconds
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights

PACKING = "batch"
SPECIAL_BITS = 16  # the key-switching prime exceeds the scale by that, or key noise dominates
SCALE_BITS = {8192: range(26, 46), 16384: range(29, 46), 32768: range(30, 51)}
SECONDS = {"combine": 1.7e-7, "mul": 2e-8}  # of a word; ``combine`` reads or writes it
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
    """For each stage, bits of what may be refreshed at its end: context, or stream after the FFN.

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
    options: PlanOptions,
) -> Plan:
    """Plan a batch of texts of one bucket; the plan's option ``sentences`` says how many.

    Of all rings that carry the circuit, or of the one given, and of every number of refresh
    points that may be worthwhile, the plan is taken that costs least for each text.

    Args:
        weights: the converted encoder, of the polynomial form.
        tokens: padded length, one of :data:`thex_hf.circuits.shape.BUCKETS`.
        bits: from :func:`batch_bits`.
        options: of ``refresh``, or of ``one-shot``, which refreshes nothing.

    Raises:
        PlanError: the form does not fit, no parameter set carries the circuit, or none carries
            a strong flood.
    """
    layers, power = fold_batch(weights), terms_of(weights.layers[0]).power
    points = most_points(bits, options.protocol)
    planner = Planner(
        weights,
        fold_polynomial(weights),
        bits,
        options,
        choices=lambda ring: BatchedRefreshSchedule.best(
            shape_of(weights, tokens, ring), power, EXIT_LEVEL, points
        ),
        parameters=choose_for_batch,
        circuit=lambda refreshes: batched_circuit(refreshes, bits, layers, NO_FLOOD),
        packing=lambda refreshes: {"packing": PACKING, "sentences": refreshes.texts},
    )
    plan = planner.cheapest(expected_batch_seconds)
    if plan is not None:
        return plan
    raise PlanError(
        f"{options.protocol}: no ring of {options.rings} carries a batch of {tokens} tokens at "
        f"128-bit security and a usable precision; classify the texts one by one, or use a "
        f"larger ring"
    )


def choose_for_batch(
    ring: int, refreshes: BatchedRefreshSchedule, bits: RangeBits
) -> Parameters | None:
    """The largest scale of a ring, or None; the key-switching prime is as small as will do."""

    def special_bits(scale: int, first: int, left: int) -> int | None:
        special = min(60, max(scale + SPECIAL_BITS, first))
        return special if first <= special <= left else None

    return largest_scale(ring, refreshes, bits, SCALE_BITS[ring], special_bits)


def is_batch(plan: Plan) -> bool:
    """Whether ``plan`` was made here."""
    return plan.options.get("packing") == PACKING


def expected_batch_seconds(plan: Plan) -> float:
    """About how many seconds one whole request takes, the client's included: for comparing."""
    degree, schedule = plan.parameters.ring_degree, plan.schedule
    parts = [part for round_trip in schedule.round_trips for part in round_trip.parts]
    ups = [*schedule.inputs, *(packing for part in parts for packing in part.returns)]
    downs = [(part.sends, part.level) for part in parts]
    words = sum(layout.ciphertexts * (level + 1) for layout, level in [*ups, *downs])
    return operation_seconds(plan, SECONDS) + words * CLIENT_SECONDS * degree


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
