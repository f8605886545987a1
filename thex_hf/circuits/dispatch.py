"""The protocols on offer: which form of model each serves, how it is planned and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from thex_hf.circuits.batched.planner import (
    batch_bits,
    batched_circuit,
    batching_is_faster,
    is_batch,
    make_batch_plan,
)
from thex_hf.circuits.client_aided.planner import client_aided_circuit, make_plan, range_bits
from thex_hf.circuits.client_aided.projections import FoldedLayer, fold
from thex_hf.circuits.context import Circuit
from thex_hf.circuits.flood import Flood
from thex_hf.circuits.parallel import SEQUENTIAL, ParallelRunner
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.polynomial.folding import BatchLayers, fold_batch, fold_polynomial
from thex_hf.circuits.polynomial.maps import PolynomialLayers
from thex_hf.circuits.polynomial.planning import stream_bits
from thex_hf.circuits.polynomial.refresh_schedule import (
    BatchedRefreshSchedule,
    SingleRefreshSchedule,
)
from thex_hf.circuits.protocols import FORMS, PROTOCOL_FACTS, RINGS, PlanOptions, protocols_of
from thex_hf.circuits.single.planner import (
    make_polynomial_plan,
    single_circuit,
)
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights

__all__ = [
    "BATCH_HEAD",
    "FORMS",
    "RINGS",
    "Folded",
    "batch_plan_for",
    "batching_is_faster",
    "can_batch",
    "check_form",
    "circuit_for",
    "fewest_for_a_batch",
    "fold_weights",
    "plan_for",
]

BATCH_HEAD = "cls"
"""The head whose texts may share a request."""


@dataclass(frozen=True)
class PolynomialFolds:
    """A model of the polynomial form, folded for one text and, if only [CLS] is read, for many."""

    single: PolynomialLayers
    batch: BatchLayers | None


Folded: TypeAlias = tuple[FoldedLayer, ...] | PolynomialFolds
Ranges: TypeAlias = Sequence[Mapping[str, float]] | None


def check_form(form: str, protocol: str) -> None:
    """Refuse a model of the wrong form.

    Raises:
        PlanError: says which protocols serve the form, and how to get the other form.
    """
    wanted, fitting = FORMS[protocol], protocols_of(form)
    if protocol not in fitting:
        others = f"use protocol {' or '.join(map(repr, fitting))}, or " if fitting else ""
        raise PlanError(
            f"protocol {protocol!r} needs a model of the {wanted} form, this one is of the "
            f"{form} form; {others}convert the original model with: thex-hf convert --form {wanted}"
        )


def can_batch(protocol: str, head: str) -> bool:
    """Whether many texts may share a request."""
    return PROTOCOL_FACTS[protocol].batches and head == BATCH_HEAD


def fewest_for_a_batch(batch: Plan, single: Plan) -> int:
    """How many texts a batch is expected to be faster from; as many as it holds if it never is."""
    most = int(batch.options["sentences"])
    counts = range(1, most)
    return next((count for count in counts if batching_is_faster(batch, single, count)), most)


def fold_weights(weights: EncoderWeights) -> Folded:
    """Fold a model of a form that runs as a circuit.

    Raises:
        PlanError: see the two folding modules.
    """
    if weights.form == "polynomial":
        batch = fold_batch(weights) if weights.head == BATCH_HEAD else None
        return PolynomialFolds(fold_polynomial(weights), batch)
    return fold(weights)


def plan_for(
    weights: EncoderWeights,
    tokens: int,
    ranges: Ranges,
    options: PlanOptions,
) -> Plan:
    """Plan any protocol for one bucket of ``tokens`` tokens.

    Args:
        weights: the converted encoder.
        tokens: padded length.
        ranges: calibrated ranges of the checkpoint, or None.
        options: protocol and choices.

    Raises:
        PlanError: the form does not fit, or no parameter set carries the circuit.
    """
    check_form(weights.form, options.protocol)
    if options.protocol == "client-aided":
        return make_plan(weights, tokens, range_bits(weights, ranges), softmax=options.softmax)
    return make_polynomial_plan(weights, tokens, stream_bits(weights, ranges), options)


def batch_plan_for(
    weights: EncoderWeights,
    tokens: int,
    ranges: Ranges,
    options: PlanOptions,
) -> Plan:
    """Plan many texts in one request, for a polynomial protocol. Arguments as :func:`plan_for`.

    Raises:
        PlanError: form or head does not fit, or no parameter set carries the circuit.
    """
    check_form(weights.form, options.protocol)
    return make_batch_plan(weights, tokens, batch_bits(weights, ranges), options)


def circuit_for(plan: Plan, folded: Folded, runner: ParallelRunner = SEQUENTIAL) -> Circuit:
    """The circuit of ``plan`` with its weights; ``runner`` runs what may run side by side."""
    if isinstance(folded, PolynomialFolds):
        noise = Flood.of(plan.options)
        if is_batch(plan):
            assert folded.batch is not None  # no batch plan is made for other heads
            return batched_circuit(BatchedRefreshSchedule.of(plan), plan.bits, folded.batch, noise)
        return single_circuit(
            SingleRefreshSchedule.of(plan), plan.bits, folded.single, noise, runner=runner
        )
    return client_aided_circuit(plan.shape, plan.bits, plan.options["softmax"], folded)
