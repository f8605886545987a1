"""What every engine that compiles whole maps of a model keeps, whatever it is made of."""

import json

import numpy as np
import pytest
from concrete_world import RANGES, text
from reference import clear_logits, random_polynomial_weights, random_weights

from thex_hf.backends.registry import find_backend, list_backends
from thex_hf.circuits.protocols import RELU
from thex_hf.errors import PlanError, ThexError
from thex_hf.protocol.engines import SLOTS, CircuitBackend, capabilities_of

CIRCUITS = [name for name in list_backends() if isinstance(find_backend(name), CircuitBackend)]
SIZES = {"hidden": 16, "intermediate": 8}


@pytest.fixture(params=CIRCUITS)
def backend(request):
    return find_backend(request.param)


@pytest.fixture
def working(backend):
    works, why = backend.available()
    if not works:
        pytest.skip(why)
    return backend


def session(backend, weights, ranges=RANGES, softmax="estimate", relu="client", encrypted=False):
    return backend.session(weights, ranges=ranges, softmax=softmax, relu=relu, encrypted=encrypted)


def test_there_is_one():
    assert CIRCUITS


def test_it_says_what_it_is(backend):
    assert find_backend(backend.name) is backend
    assert "server" in backend.learns
    assert "client" in backend.learns
    assert list(backend.buckets) == sorted(set(backend.buckets))
    can = capabilities_of(backend)
    assert set(can.protocols) <= set(SLOTS.protocols)
    assert set(can.heads) <= set(SLOTS.heads)
    assert set(can.relu) <= set(RELU)
    json.dumps(can.to_json())
    works, why = backend.available()
    assert works is (why == "")


def test_simulation_is_near_the_clear_model(backend):
    weights, embeddings = random_weights(**SIZES), text(5, hidden=16)
    outcome = session(backend, weights).run(embeddings)
    want = clear_logits(weights, embeddings, np.ones(5))
    assert np.abs(outcome.logits - want).max() < 0.3
    assert outcome.plan.facts.bucket >= 5
    assert (outcome.bytes_up, outcome.bytes_down) == (0, 0)
    json.dumps(outcome.plan.to_json())


def test_outcomes_of_many_are_in_order(backend):
    own = session(backend, random_weights(**SIZES))
    texts = [text(n, hidden=16, seed=n) for n in (3, 9, 2)]
    many = own.run_many(texts)
    for one, outcome in zip(texts, many, strict=True):
        assert np.array_equal(own.run(one).logits, outcome.logits)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ranges": None}, "calibrated"),
        ({"weights": random_weights(head="tokens", **SIZES)}, "reads"),
        ({"weights": random_polynomial_weights(**SIZES)}, "form"),
    ],
)
def test_what_it_does_not_run_is_refused(backend, change, words):
    weights = change.pop("weights", random_weights(**SIZES))
    with pytest.raises(PlanError, match=words):
        session(backend, weights, **change).run(text(3, hidden=16))


def test_a_text_beyond_the_largest_bucket_is_refused(backend):
    longest = backend.buckets[-1]
    with pytest.raises(PlanError, match=str(longest)):
        session(backend, random_weights(**SIZES)).plan(longest + 1)


def test_execution_is_the_simulation(working):
    weights, embeddings = random_weights(**SIZES), text(4, hidden=16)
    own = session(working, weights, encrypted=True)
    done = own.run(embeddings)
    again = own.run(embeddings)
    own.close()
    wanted = session(working, weights).run(embeddings).logits
    assert np.array_equal(done.logits, wanted)
    assert done.rounds == again.rounds > 0
    assert done.key_bytes > 0
    assert (again.keygen_seconds, again.prepare_seconds) == (0, 0)


def test_an_estimate_has_the_bytes_of_a_run(working):
    weights = random_weights(**SIZES)
    options = {"ranges": RANGES, "softmax": "estimate", "relu": "client"}
    small, large = working.estimate(weights, [3, 20], **options)
    own = session(working, weights, encrypted=True)
    for row, tokens in ((small, 3), (large, 20)):
        done = own.run(text(tokens, hidden=16))
        assert row.tokens == done.plan.facts.bucket
        assert row.rounds == done.rounds
        assert row.up_bytes == pytest.approx(done.bytes_up, rel=0.05)
        assert row.down_bytes == pytest.approx(done.bytes_down, rel=0.05)
        assert row.server_seconds > 0
    own.close()


def test_no_environment_is_said_with_what_to_do(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("THEX_HF_HOME", str(tmp_path))
    works, why = backend.available()
    assert not works
    assert f"backend install {backend.name}" in why
    with pytest.raises(ThexError, match="install"):
        session(backend, random_weights(**SIZES), encrypted=True)
