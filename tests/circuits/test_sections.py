"""A plan's counts by stretch of the circuit: nothing is lost, and visits part them."""

from collections import Counter

import pytest
from reference import random_polynomial_weights, random_weights

from thex_hf.circuits.dispatch import FORMS, batch_plan_for, plan_for
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.ckks.counting import CountingEngine, Section, SymbolicCiphertext

TINY = {"hidden": 32, "heads": 2, "intermediate": 48}
MADE = {"the-x": random_weights, "polynomial": random_polynomial_weights}


def plan_of(protocol, **options):
    head = options.pop("head", "cls")
    weights = MADE[FORMS[protocol]](**TINY, head=head)
    return plan_for(weights, 16, None, PlanOptions(protocol, **options))


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("client-aided", {}),
        ("client-aided", {"softmax": "estimate-on-server"}),
        ("client-aided", {"head": "tokens"}),
        ("refresh", {}),
        ("refresh", {"head": "mean"}),
        ("one-shot", {}),
        ("one-shot", {"head": "tokens"}),
    ],
)
def test_sections_add_up_to_the_plan_and_every_operation_has_a_stage(protocol, options):
    plan = plan_of(protocol, **options)
    assert sum(plan.sections.values(), Counter()) == plan.operations
    assert {section.round for section in plan.sections} == set(range(plan.schedule.rounds))
    assert "circuit" not in {section.stage for section in plan.sections}
    assert {section.layer for section in plan.sections} >= {"0"}


def test_the_client_aided_stages_are_those_of_the_schedule():
    stages = [(s.layer, s.stage) for s in plan_of("client-aided").sections if s.stage != "masks"]
    names = ["Q, K, V", "scores", "context", "attention out", "FFN in"]
    first = [("0", name) for name in (*names, "FFN out")]
    assert stages == [*first, *(("1", name) for name in (*names, "FFN out, classifier"))]


def test_a_batch_has_one_stage():
    weights = random_polynomial_weights(hidden=8, heads=2, intermediate=8)
    plan = batch_plan_for(weights, 16, None, PlanOptions("refresh"))
    assert sum(plan.sections.values(), Counter()) == plan.operations
    assert {section.stage for section in plan.sections} == {"circuit"}


def test_an_engine_counts_each_mark_apart():
    engine = CountingEngine(8)
    engine.begin_stage("scores", 3)
    engine.rotate(SymbolicCiphertext(1), 2)
    engine.begin_stage("context")
    engine.next_round()
    engine.rotate(SymbolicCiphertext(0), 2)
    assert engine.sections == {
        Section(0, "3", "scores"): Counter({("rotate", 1): 1}),
        Section(1, "3", "context"): Counter({("rotate", 0): 1}),
    }
