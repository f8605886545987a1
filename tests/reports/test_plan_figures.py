"""Cost and levels: the figures hold the plan's numbers, all of them."""

import json

import pytest
from reference import random_polynomial_weights, random_weights

from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.protocols import CIRCUITS, FORMS, PlanOptions
from thex_hf.reports.plots.plan import (
    KINDS,
    OTHERS,
    SWITCHES,
    draw_cost,
    draw_levels,
    read_cost,
    read_levels,
)

MADE = {"the-x": random_weights, "polynomial": random_polynomial_weights}


@pytest.fixture(scope="module", params=list(CIRCUITS))
def plan(request):
    weights = MADE[FORMS[request.param]](hidden=32, heads=2, intermediate=48)
    return plan_for(weights, 16, None, PlanOptions(request.param))


def widths(axes):
    """Summed lengths of the bars of each colour, by legend."""
    return {bars.get_label(): sum(b.get_width() for b in bars) for bars in axes.containers}


def test_every_operation_of_the_plan_is_in_the_cost(plan):
    cost = read_cost(plan, "mine")
    counted = sum(n for (verb, _), n in plan.operations.items() if verb != "encode")
    assert sum(cost.totals.values()) == counted
    assert sum(cost.totals[kind] for kind in SWITCHES) == plan.key_switches
    for kind, (_, verbs) in KINDS.items():
        own = sum(n for (verb, _), n in plan.operations.items() if verb in verbs)
        assert cost.totals[kind] == own
    assert json.loads(json.dumps(cost.to_json()))["totals"] == cost.totals


def test_the_cost_figure_shows_these_sums(plan):
    cost = read_cost(plan, "mine")
    figure = draw_cost(cost)
    left, right = figure.axes
    for axes, kinds in ((left, SWITCHES), (right, OTHERS)):
        shown = widths(axes)
        assert shown == {kind: cost.totals[kind] for kind in kinds if cost.totals[kind]}
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels[0].startswith("layer 0: ")
    assert len(labels) == len(cost.stages)
    assert str(plan.key_switches) in left.get_xlabel()
    title = figure.get_suptitle()
    assert all(text in title for text in ("mine", plan.protocol, f"{plan.shape.tokens} tokens"))


def test_levels_begin_with_the_request_and_pass_every_visit(plan):
    levels = read_levels(plan, "mine")
    first, *between, last = levels.steps
    assert max(first.enters) <= levels.top == plan.levels
    assert last.leaves == (0,)
    visits = [step for step in between if step.used is None]
    assert len(visits) == plan.schedule.rounds - 1
    assert [set(step.leaves) for step in visits] == [
        {part.level for part in visit.parts} for visit in plan.schedule.round_trips
    ]


def test_no_stage_begins_above_what_came_in(plan):
    height = 0
    for step in read_levels(plan, "mine").steps:
        if step.enters:
            height = max(step.enters)
        if step.used:
            high, low = step.used
            assert low < high <= height


def test_the_levels_figure_shows_stages_and_crossings(plan):
    levels = read_levels(plan, "mine")
    (axes,) = draw_levels(levels).axes
    (bars,) = axes.containers
    used = [step.used for step in levels.steps if step.used]
    assert [(b.get_x() + b.get_width(), b.get_x()) for b in bars] == used
    leaves, enters = (group.get_offsets()[:, 0].tolist() for group in axes.collections)
    assert leaves == [level for step in levels.steps for level in step.leaves]
    assert enters == [level for step in levels.steps for level in step.enters]
    assert axes.yaxis_inverted()
