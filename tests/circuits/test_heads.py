"""Heads that read every token, or their mean: on exact numbers, against the formulas."""

import aided_runs
import numpy as np
import polynomial_runs
import pytest
from exact_engine import MASK_ROUNDING, ExactEngine
from reference import clear_logits, random_polynomial_weights, random_weights

from thex_hf.circuits.flood import NO_FLOOD
from thex_hf.circuits.masks import RangeBits
from thex_hf.circuits.planning import shape_of
from thex_hf.circuits.polynomial.folding import fold_polynomial
from thex_hf.circuits.polynomial.refresh_schedule import SingleRefreshSchedule
from thex_hf.circuits.single.planner import single_circuit
from thex_hf.ckks.plaintext_cache import PlaintextCache

HEADS = ("tokens", "mean")
AIDED = {
    "padded": ({"labels": 9}, 16, 11),
    "odd heads": (
        {"layers": 1, "hidden": 48, "heads": 3, "intermediate": 150, "labels": 5},
        32,
        32,
    ),
    "two tiles": ({"layers": 1, "hidden": 16, "intermediate": 24}, 64, 40),
    "four tiles": ({"layers": 2, "hidden": 80, "heads": 5, "intermediate": 100}, 128, 97),
    "many labels": ({"layers": 1, "hidden": 78, "heads": 6, "labels": 70}, 32, 7),
}
CASES = {
    **{name: case for name, case in polynomial_runs.CASES.items() if name != "two blocks"},
    "four tiles": ({"layers": 1, "hidden": 16, "intermediate": 40, "labels": 9}, 512, 64, 50),
    "labels in blocks": ({"layers": 1, "hidden": 16, "intermediate": 24, "labels": 20}, 512, 16, 9),
    "odd everything": ({"hidden": 39, "heads": 3, "intermediate": 65, "labels": 9}, 1024, 32, 21),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("case", AIDED)
def test_client_aided_equals_the_formulas(case, head):
    sizes, tokens, length = AIDED[case]
    weights = random_weights(head=head, **sizes)
    embeddings = np.random.default_rng(1).normal(size=(length, weights.hidden)) * 0.7
    plan, engine, _, answer, _, _ = aided_runs.run_exactly(weights, tokens, embeddings)
    rows = plan.schedule.answer.unpack(answer)
    assert rows.shape == (tokens, weights.labels)
    found = rows[:length] if head == "tokens" else rows[:length].mean(0)
    wanted = clear_logits(weights, embeddings, np.ones(length))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=MASK_ROUNDING)
    assert engine.rules.rotations == set(plan.rotations)
    for vector, wanted in zip(answer, plan.schedule.answer.pack(rows), strict=True):
        np.testing.assert_array_equal(vector, wanted)  # what is no logit is exactly zero


@pytest.mark.parametrize("softmax", ["exact", "estimate-on-server"])
def test_client_aided_with_another_softmax(softmax):
    weights = random_weights(layers=1, hidden=16, intermediate=24, head="tokens")
    embeddings = np.random.default_rng(1).normal(size=(9, 16)) * 0.7
    plan, _, seen, answer, mask, padded = aided_runs.run_exactly(weights, 16, embeddings, softmax)
    wanted = clear_logits(weights, padded, mask, softmax)
    found = plan.schedule.answer.unpack(answer)[:9]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=MASK_ROUNDING)
    for part, vectors in seen:
        if part.op == "refresh":  # the last layer's values are masked as all others
            assert min(np.abs(v).max() for v in vectors) > 2**30


def polynomial_setting(case, head, rests):
    sizes, slots, tokens, length = CASES[case]
    weights = random_polynomial_weights(head=head, **sizes)
    every = SingleRefreshSchedule.best(
        shape_of(weights, tokens, 2 * slots), weights.layers[0].polynomial.power, 1, 99
    )
    return weights, every[min(rests, len(every) - 1)], length


def read(refreshes, answer):
    rows = refreshes.answer.unpack([np.real(v) for v in answer])
    return rows if refreshes.shape.head == "tokens" else rows[0]


@pytest.mark.parametrize("rests", [0, 99])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("case", CASES)
def test_polynomial_circuit_equals_the_formulas(case, head, rests):
    weights, refreshes, length = polynomial_setting(case, head, rests)
    answer, wanted, _, seen = polynomial_runs.run_exactly(weights, refreshes, length)
    found = read(refreshes, answer)
    found = found[:length] if head == "tokens" else found
    np.testing.assert_allclose(found, wanted, rtol=0, atol=MASK_ROUNDING)
    for vectors in seen:  # both parts of every slot are hidden, by this engine with 2**10
        for part in (np.real, np.imag):
            assert min(np.median(np.abs(part(v))) for v in vectors) > 2.0**8


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("case", CASES)
def test_the_polynomial_answer_holds_logits_of_true_tokens_and_nothing_else(case, head):
    """Before flooding; what was computed for padded tokens is gone too."""
    weights, refreshes, length = polynomial_setting(case, head, 0)
    handles, wanted = one_shot(
        ExactEngine(refreshes.shape.geometry.slots), weights, refreshes, length
    )
    answer = [a[0] for a in handles]
    held = np.zeros((refreshes.answer.tokens, weights.labels))
    held[: len(np.atleast_2d(wanted))] = wanted
    for vector, own in zip(answer, refreshes.answer.pack(held), strict=True):
        assert np.abs(vector[own == 0]).max() < 1e-250
        np.testing.assert_allclose(vector, own, atol=1e-9)


class DriftingEngine(ExactEngine):
    """Products come out too large, by another factor at each level, as small primes make them."""

    def scale_ratio(self, level):
        return 1 + 0.1 * level

    def mul(self, a, b):
        values, symbolic = super().mul(a, b)
        return values * self.scale_ratio(symbolic.level), symbolic


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("case", ["odd heads", "power four", "four tiles"])
def test_the_drift_of_products_is_made_up_for(case, head):
    weights, refreshes, length = polynomial_setting(case, head, 0)
    answer, wanted = one_shot(
        DriftingEngine(refreshes.shape.geometry.slots), weights, refreshes, length
    )
    found = read(refreshes, [a[0] for a in answer])
    np.testing.assert_allclose(found[:length] if head == "tokens" else found, wanted, atol=1e-9)


def one_shot(engine, weights, refreshes, length):
    """The answer's handles without a flood, and the logits that the formulas give."""
    circuit = single_circuit(refreshes, RangeBits((), ()), fold_polynomial(weights), NO_FLOOD)
    embeddings = np.random.default_rng(0).normal(size=(length, weights.hidden)) * 0.7
    request = [
        [engine.encrypt(v, level) for v in vectors]
        for vectors, level in polynomial_runs.pack_request(
            refreshes.schedule, embeddings, refreshes.shape.tokens
        )
    ]
    with pytest.raises(StopIteration) as stop:
        next(circuit(engine, PlaintextCache(), request))
    out = sum(n for (verb, _), n in engine.rules.operations.items() if verb == "rerandomise")
    assert out == refreshes.answer.ciphertexts
    return stop.value.value, polynomial_runs.polynomial_logits(weights, embeddings)
