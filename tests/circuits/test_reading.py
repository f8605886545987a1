"""Plans read back by a client that has no weights."""

import json
import math
import tracemalloc
from functools import cache
from itertools import product

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import random_polynomial_weights, random_weights

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.dispatch import batch_plan_for, plan_for
from thex_hf.circuits.plan import _digest
from thex_hf.circuits.plan_reading import MOST_MESSAGE, read_plan
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.circuits.shape import BUCKETS
from thex_hf.errors import SecurityError, ThexError, WireError
from thex_hf.protocol.client import ClientRun, exchange
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.messages import MAX_BYTES
from thex_hf.protocol.server import ServedModel, ServerRun

CASES = {
    "client-aided": ("client-aided", {}, {}),
    "on server": ("client-aided", {"layers": 1}, {"softmax": "estimate-on-server"}),
    "tokens": ("client-aided", {"head": "tokens"}, {}),
    "refresh": ("refresh", {}, {}),
    "refresh, mean": ("refresh", {"head": "mean"}, {}),
    "one-shot": ("one-shot", {}, {}),
    "power four": ("one-shot", {"power": 4, "layers": 1}, {}),
}


def weights_of(case):
    protocol, sizes, options = CASES[case]
    make = random_weights if protocol == "client-aided" else random_polynomial_weights
    return make(**sizes), protocol, options


@cache
def planned(case):
    weights, protocol, options = weights_of(case)
    return plan_for(weights, 16, None, PlanOptions(protocol, **options))


def as_json(plan):
    return json.loads(json.dumps(plan.to_json()))


@pytest.mark.parametrize("case", CASES)
def test_a_plan_read_back_is_the_clients_whole_plan(case):
    plan = planned(case)
    again = read_plan(as_json(plan))
    assert again.id == plan.id
    assert again.key_set == plan.key_set
    assert again.schedule == plan.schedule
    assert again.parameters == plan.parameters
    assert key_request(again) == key_request(plan)


def test_a_batch_plan_read_back():
    plan = batch_plan_for(random_polynomial_weights(), 16, None, PlanOptions("refresh"))
    again = read_plan(as_json(plan))
    assert (again.id, again.schedule) == (plan.id, plan.schedule)


def test_a_client_with_a_plan_from_json_gets_the_servers_answer():
    weights = weights_of("refresh")[0]
    plan, backend = planned("refresh"), get_backend("clear")
    own = read_plan(as_json(plan))
    secret, evaluation = backend.generate(key_request(own))
    embeddings = np.random.default_rng(0).normal(size=(7, weights.hidden)) * 0.7
    answers = [
        exchange(
            ClientRun(client, backend.client(own.parameters, secret), "a" * 32, embeddings),
            ServerRun(
                ServedModel(weights),
                plan,
                backend.server(plan.parameters, evaluation, plan.rotations),
                "a" * 32,
            ).answer,
        ).logits
        for client in (own, plan)
    ]
    np.testing.assert_allclose(*answers, atol=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "0" * 32}, "altered"),
        ({"format": 99}, "format 2, got 99"),
        ({"labels": 3}, "altered"),
        ({"labels": 0}, "labels"),
        ({"labels": 10**9}, "labels"),
        ({"labels": True}, "labels"),
        ({"hidden": 31}, "heads must divide"),
        ({"protocol": "plain"}, "protocol"),
        ({"tokens": 17}, "tokens"),
        ({"tile": 64}, "tile"),
        ({"softmax": "none"}, "softmax"),
        ({"prime_bits": [30]}, "level"),
        ({"prime_bits": "30"}, "array"),
        ({"keys": {}}, "rotations"),
        ({"keys": None}, "not a plan"),
        ({"model": 5}, "at model, got 5"),
        ({"model": "A" * 64}, "at model, got 'AAA"),
        ({"model": "a" * 64 + "\n"}, "at model"),
        ({"labels": 3.0}, "at labels, got 3.0"),
        ({"labels": "3"}, "at labels, got '3'"),
        ({"labels": math.nan}, "at labels, got nan"),
        ({"labels": 2**80}, "<= 8192 at labels, got 1208925819614629174706176"),
        ({"labels": -(2**80)}, ">= 1 at labels"),
        ({"prime_bits": [30, True]}, r"at prime_bits\[1\], got True"),
        ({"tokens": 16.0}, "at tokens, got 16.0"),
        ({"head": None}, "at head, got None"),
        ({"id": None}, "at id, got None"),
    ],
)
def test_what_is_no_plan_is_refused(change, words):
    with pytest.raises(WireError, match=words):
        read_plan({**as_json(planned("client-aided")), **change})


def test_weak_parameters_are_refused():
    data = as_json(planned("client-aided"))
    with pytest.raises(SecurityError, match="insecure"):
        read_plan({**data, "prime_bits": [60] * len(data["prime_bits"])})


@pytest.mark.parametrize(
    "keys",
    [
        {"rotations": [[1, 0]] * 300},
        {"rotations": [[2, 0], [1, 0]]},
        {"rotations": [[0, 0]]},
        {"rotations": [[1, 99]]},
        {"rotations": [[1]]},
        {"public": 1},
        {"conjugation": -1},
        {"rotations": [[1.0, 0]]},
        {"rotations": [[True, 0]]},
        {"rotations": [[4096, 0]]},
        {"rotations": [[1, 0, 0]]},
        {"relinearisation": 9},
        {"surprise": 1},
    ],
)
def test_keys_that_no_circuit_needs_are_refused(keys):
    data = as_json(planned("client-aided"))
    with pytest.raises(WireError):
        read_plan({**data, "keys": {**data["keys"], **keys}})


def resigned(data):
    """With the id that a server would give it: of the shared part."""
    rest = ("id", "key_set", "rounds", "levels", "key_switches", "operations", "visits")
    return {**data, "id": _digest({k: v for k, v in data.items() if k not in rest})}


@pytest.mark.parametrize("name", ["model", "tile", "keys", "softmax"])
def test_a_missing_field_is_named(name):
    data = as_json(planned("client-aided"))
    del data[name]
    with pytest.raises(WireError, match=f"missing required field `{name}` at its top, got"):
        read_plan(data)


@pytest.mark.parametrize(
    "change",
    [{"packing": ""}, {"packing": None}, {"packing": "batch"}, {"sentences": 5}, {"rests": [2]}],
)
def test_options_that_do_not_go_together_are_refused(change):
    with pytest.raises(WireError, match="not a plan"):
        read_plan({**as_json(planned("refresh")), **change})


def test_fields_for_people_may_be_anything():
    data, deep = as_json(planned("refresh")), []
    for _ in range(100_000):
        deep = [deep]
    assert read_plan({**data, "visits": deep, "more": deep}).id == data["id"]
    with pytest.raises(WireError):
        read_plan({**data, "keys": {**data["keys"], "rotations": deep}})


ALL_RESTS = {"rests": list(range(127)), "stream_bits": [4] * 127}
ABSURD = {
    "a larger ring": {"ring_degree": 16384},
    "the largest ring": {"ring_degree": 32768},
    "a tiny scale": {"scale_bits": 1},
    "a huge scale": {"scale_bits": 60},
    "tiny primes": {"prime_bits": [1] * 6},
    "a smaller special prime": {"special_bits": 40},
    "no flood": {"flood_bits": 0},
    "a flood of 60 bits": {"flood_bits": 60},
    "wide masks": {"stream_bits": [60] * 3},
    "huge masks": {"stream_bits": [1024] * 3},
    "another exit": {"exit_level": 0},
    "no rest": {"rests": []},
    "bits for another number of stages": {"stream_bits": [7] * 2},
    "no public key": {"keys": {"public": False}},
    "no conjugation key": {"keys": {"conjugation": None}},
    "no relinearisation key": {"keys": {"relinearisation": None}},
    "many rotations": {"keys": {"rotations": [[step, 5] for step in range(1, 258)]}},
    "other masks": {"hiding_bits": 0},
    "labels without end": {"labels": 65536},
    "64 layers": {"layers": 64, **ALL_RESTS},
    "all that is largest": {
        **{"layers": 64, "hidden": 8192, "heads": 256, "intermediate": 65536, "labels": 65536},
        **{"tokens": 128, "tile": 32, **ALL_RESTS},
    },
    "a small tile": {"tile": 2},
    "a large tile": {"tile": 128},
    "a bucket that a larger one costs no more than": {"tile": 16, "ring_degree": 16384},
    "one-shot with rests": {"protocol": "one-shot"},
    "a batch": {"packing": "batch", "sentences": 256},
    "a field of its own": {"surprise": 1},
}


@pytest.mark.parametrize("name", ABSURD)
def test_a_plan_that_no_planner_makes_is_refused_before_it_costs_anything(name):
    data, change = as_json(planned("refresh")), ABSURD[name]
    keys = {**data["keys"], **change.get("keys", {})}
    tracemalloc.start()
    with pytest.raises(WireError):
        read_plan(resigned({**data, **change, "keys": keys}))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20


def test_long_values_are_told_short_and_escaped():
    data = as_json(planned("refresh"))
    for name in ("tile", "format", "id", "labels", "protocol"):
        with pytest.raises(WireError) as caught:
            read_plan({**data, name: "\x1b[2J\n" * 10_000})
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("tokens", BUCKETS)
@pytest.mark.parametrize(
    ("protocol", "ring"),
    [("client-aided", None), *product(("refresh", "one-shot"), (None, 16384, 32768))],
)
def test_every_plan_of_ours_is_read(protocol, ring, tokens):
    polynomial = protocol != "client-aided"
    make = random_polynomial_weights if polynomial else random_weights
    weights = make(layers=1, hidden=16, intermediate=16)
    seen = dict.fromkeys(("value", "layer_out", "scores", "ffn_pre", "attention_out"), 9.0)
    for ranges in (None, [seen]):
        plan = plan_for(weights, tokens, ranges, PlanOptions(protocol, ring=ring))
        assert read_plan(as_json(plan)).id == plan.id
    if protocol == "refresh":
        plan = batch_plan_for(weights, tokens, None, PlanOptions(protocol, ring=ring))
        assert read_plan(as_json(plan)).id == plan.id


def test_a_message_is_as_large_as_the_wire_takes():
    assert MOST_MESSAGE == MAX_BYTES


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=examples(300))
@given(st.sampled_from(sorted(CASES)), st.integers(0, 40), JUNK)
def test_any_field_replaced_by_anything_is_refused_or_the_same(case, which, junk):
    data = as_json(planned(case))
    name = sorted(data)[which % len(data)]
    try:
        plan = read_plan({**data, name: junk})
    except ThexError:
        return
    assert plan.id == data["id"]
