"""A plan crosses without weights, and one that would not be safe to run is refused."""

import copy
import json
from dataclasses import replace

import pytest
from reference import random_normalised_weights, random_polynomial_weights, random_weights

from thex_hf.errors import PlanError, WireError
from thex_hf.prepared.folding import fold_network
from thex_hf.prepared.plan import prepared_plan, read_prepared_plan
from thex_hf.prepared.steps import network_json, read_network

WEIGHTS = random_polynomial_weights(layers=2, hidden=16, heads=2, intermediate=24, power=6)
PLAN = prepared_plan(WEIGHTS, 32)


def described():
    return json.loads(json.dumps(PLAN.to_json()["network"]))


def test_a_network_comes_back_from_its_json():
    network = read_network(described())
    assert network_json(network) == described()
    assert [[p.out for p in r] for r in network.rounds] == [
        [p.out for p in r] for r in PLAN.network.rounds
    ]


def test_a_network_that_shows_comes_back_too():
    weights = random_weights(layers=2, hidden=16, heads=2, intermediate=24)
    data = json.loads(json.dumps(network_json(prepared_plan(weights, 32).network)))
    network = read_network(data)
    assert network_json(network) == data
    assert network.shows


def test_a_network_that_normalises_comes_back_too():
    weights = random_normalised_weights([(4, 2), (0, 8)], hidden=16, heads=2, intermediate=24)
    plan = prepared_plan(weights, 32)
    data = json.loads(json.dumps(network_json(plan.network)))
    assert network_json(read_network(data)) == data
    assert plan.form == "normalised"
    for kind in ("squaredsum", "scaled"):
        place = next(n for n, step in enumerate(data["steps"]) if step["kind"] == kind)
        for fields in (
            {"out": [data["steps"][place]["out"][0], [32, 3], data["steps"][place]["out"][2]]},
            {"inputs": ["embeddings", "mask"]},
            {"kind": "scaled" if kind == "squaredsum" else "squaredsum"},
        ):
            other = json.loads(json.dumps(data))
            other["steps"][place].update(fields)
            with pytest.raises(WireError, match="network of the prepared protocol"):
                read_network(other)


def test_what_is_shown_is_checked():
    weights = random_weights(layers=1, hidden=16, heads=2, intermediate=24)
    original = network_json(prepared_plan(weights, 32).network)
    relu = next(n for n, step in enumerate(original["steps"]) if step["kind"] == "shown")
    scores = next(n for n, step in enumerate(original["steps"]) if step["kind"] == "scores")
    context = next(n for n, step in enumerate(original["steps"]) if step["kind"] == "context")
    for place, fields in (
        (relu, {"function": "print"}),
        (relu, {"function": "softmax"}),
        (scores, {"function": "relu"}),
        (scores, {"function": ""}),
        (context, {"known": False}),
    ):
        data = json.loads(json.dumps(original))
        data["steps"][place].update(fields)
        with pytest.raises(WireError, match="network of the prepared protocol"):
            read_network(data)


def test_ids_depend_on_all_that_is_shared():
    same = prepared_plan(WEIGHTS, 32)
    assert (same.id, same.key_set) == (PLAN.id, PLAN.key_set)
    assert prepared_plan(WEIGHTS, 64).id != PLAN.id
    other = random_polynomial_weights(layers=2, hidden=16, heads=2, intermediate=24, seed=1)
    assert prepared_plan(other, 32).id != PLAN.id


def test_the_figures_of_a_plan_hang_together():
    told = PLAN.to_json()
    assert told["rounds"] == 1 + 2 * 6
    assert told["tickets"] == 8192 // 32
    assert told["bytes"]["up"] == 8 * PLAN.network.numbers_up
    assert told["ciphertexts"]["up"] == PLAN.batch.up
    assert PLAN.facts.modulus_bits == 216


def renamed(data):
    data["steps"][3]["out"][0] = data["steps"][2]["out"][0]


def clashing(data):
    data["mask"][0] = "embeddings"


def unknown(data):
    data["steps"][0]["inputs"] = ["nothing"]


def misshapen(data):
    next(s for s in data["steps"] if s["kind"] == "scores")["out"][1] = [2, 32, 31]


def huge(data):
    data["steps"][0]["out"][1] = [32, 1 << 16]
    data["steps"] += [
        {"kind": "linear", "out": [f"x{n}", [32, 1 << 16], 13], "inputs": ["embeddings"]}
        for n in range(200)
    ]


def other_kind(data):
    data["steps"][0]["kind"] = "reveal"


def cut_elsewhere(data):
    next(s for s in data["steps"] if s["kind"] == "square")["shift"] += 1


def unmasked(data):
    """A linear map of a linear map: the client's share of the first is no uniform number."""
    data["steps"][1]["inputs"] = [data["steps"][0]["out"][0]]


def mask_squared(data):
    square = next(s for s in data["steps"] if s["kind"] == "square")
    square["inputs"] = ["mask", "mask"]


def remasked_twice(data):
    step = copy.deepcopy(next(s for s in data["steps"] if s["kind"] == "remask"))
    step["out"][0] = "again"
    data["steps"].append(step)


def no_logits(data):
    data["logits"] = "elsewhere"


ALL = [
    renamed, clashing, unknown, misshapen, huge, other_kind, cut_elsewhere, unmasked, mask_squared,
    remasked_twice, no_logits,
]  # fmt: skip


@pytest.mark.parametrize("change", ALL, ids=lambda change: change.__name__)
def test_a_network_that_does_not_hold_together_is_refused(change):
    data = described()
    change(data)
    with pytest.raises(WireError, match="network of the prepared protocol"):
        read_network(data)


@pytest.mark.parametrize("data", [{}, {"steps": []}, {"embeddings": 3}])
def test_what_is_no_network_is_refused(data):
    with pytest.raises(WireError, match="network of the prepared protocol"):
        read_network(data)


def resigned(change):
    """A plan whose network was changed, with the id of what it then is."""
    data = json.loads(json.dumps(PLAN.to_json()))
    change(data)
    changed = replace(PLAN, network=read_network(data["network"]))
    return {**data, "id": changed.id, "tokens": changed.tokens}


def test_a_plan_comes_back_from_its_json():
    plan = read_prepared_plan(json.loads(json.dumps(PLAN.to_json())))
    assert (plan.id, plan.key_set, plan.form) == (PLAN.id, PLAN.key_set, "polynomial")


def swollen(data):
    steps = data["network"]["steps"]
    for n in range(20):
        steps.append(
            {"kind": "linear", "out": [f"q{n}", [32, 60000], 13], "inputs": ["embeddings"]}
        )
        steps.append(
            {"kind": "square", "out": [f"s{n}", [32, 60000], 13], "inputs": [f"q{n}", f"q{n}"],
             "shift": 13}
        )  # fmt: skip


def other_length(data):
    wide = random_polynomial_weights(layers=1, hidden=16, heads=2, intermediate=24)
    data["network"] = network_json(fold_network(wide, 48))


@pytest.mark.parametrize("change", [swollen, other_length], ids=lambda change: change.__name__)
def test_a_plan_that_no_server_of_ours_makes_is_refused(change):
    with pytest.raises(WireError, match=r"more than any|power of two"):
        read_prepared_plan(resigned(change))


@pytest.mark.parametrize(
    "fields",
    [{"format": 9}, {"id": "0" * 32}, {"parameters": {}}, {"tokens": 16}, {"model": "x"}],
    ids=str,
)
def test_a_plan_of_another_kind_is_refused(fields):
    with pytest.raises(WireError):
        read_prepared_plan({**PLAN.to_json(), **fields})


def test_a_batch_has_no_more_tickets_than_slots():
    with pytest.raises(PlanError, match="1 to 256"):
        type(PLAN.batch)(PLAN.network, PLAN.parameters, 257)
