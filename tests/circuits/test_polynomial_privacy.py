"""What leaves the server under ``refresh`` and ``one-shot``."""

from collections import Counter

import numpy as np
import pytest
from exact_engine import ExactEngine
from polynomial_runs import CASES, pack_request, real_halves, run_exactly
from reference import random_polynomial_weights, random_weights

from thex_hf.circuits.dispatch import batch_plan_for, plan_for
from thex_hf.circuits.flood import NO_FLOOD
from thex_hf.circuits.masks import SPARE_BITS, RangeBits
from thex_hf.circuits.planning import shape_of
from thex_hf.circuits.polynomial.folding import fold_polynomial
from thex_hf.circuits.polynomial.refresh_schedule import SingleRefreshSchedule
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.circuits.single.planner import make_polynomial_plan, single_circuit
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import PlanError
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.messages import Message
from thex_hf.protocol.server import ServerRun


def test_everything_that_leaves_is_made_afresh():
    weights = random_polynomial_weights()
    refreshes = SingleRefreshSchedule.best(shape_of(weights, 16, 4096), 2, 1, 99)[-1]
    _, _, engine, seen = run_exactly(weights, refreshes, 16)
    counts = Counter(verb for verb, _ in engine.rules.operations.elements())
    assert len(seen) == 3
    assert counts["blind"] == sum(len(vectors) for vectors in seen)
    assert counts["unblind"] == 4  # the row before the last layer comes back in two packings
    assert counts["rerandomise"] == 1  # the answer


@pytest.mark.parametrize("batch", [False, True])
def test_how_likely_a_hidden_value_wraps(batch):
    """At most ``|m| / Q`` a coefficient; the first prime is chosen so that it does not matter."""
    weights = random_polynomial_weights()
    ranges = [{"attention_out": 7.0, "stream_in": 5.0}] * 2
    make = batch_plan_for if batch else plan_for
    plan = make(weights, 16, ranges, PlanOptions("refresh", ring=8192))
    assert plan.bits.stream == (4, 4, 4)  # twice the range that was seen
    parameters, round_trips = plan.parameters, plan.schedule.round_trips
    assert parameters.prime_bits[0] >= 4 + SPARE_BITS
    ciphertexts = sum(round_trip.parts[0].sends.ciphertexts for round_trip in round_trips)
    spare = parameters.prime_bits[0] - 1 - 4
    assert plan.wrap_probability == pytest.approx(ciphertexts * 2.0 ** (7 - spare))
    assert plan.wrap_probability < 2.0**-18
    assert plan.to_json()["wrap_probability"] == plan.wrap_probability


def test_only_refresh_can_wrap():
    assert plan_for(random_weights(), 16, None, PlanOptions("client-aided")).wrap_probability == 0.0


def test_a_mask_that_no_modulus_carries_is_refused():
    weights = random_polynomial_weights()
    bits = RangeBits((), (40, 40, 40))
    with pytest.raises(PlanError, match="refresh: no ring"):
        make_polynomial_plan(weights, 16, bits, PlanOptions("refresh"))


@pytest.mark.parametrize("case", CASES)
def test_the_answer_holds_logits_and_nothing_else(case):
    """Before flooding, every slot but those of the logits is exactly zero."""
    sizes, slots, tokens, length = CASES[case]
    weights = random_polynomial_weights(**sizes)
    refreshes = SingleRefreshSchedule.best(
        shape_of(weights, tokens, 2 * slots), weights.layers[0].polynomial.power, 1, 0
    )[0]
    engine = ExactEngine(slots)
    circuit = single_circuit(refreshes, RangeBits((), ()), fold_polynomial(weights), NO_FLOOD)
    embeddings = np.random.default_rng(0).normal(size=(length, weights.hidden))
    request = [
        [engine.encrypt(v, level) for v in vectors]
        for vectors, level in pack_request(refreshes.schedule, embeddings, tokens)
    ]
    with pytest.raises(StopIteration) as stop:
        next(circuit(engine, PlaintextCache(), request))
    answer = [a[0] for a in stop.value.value]
    bar = refreshes.shape.bar
    logits = bar.unpack([v.real for v in answer])
    for vector, wanted in zip(answer, bar.pack(logits), strict=True):
        assert np.abs(vector[wanted == 0]).max() < 1e-250
        np.testing.assert_allclose(vector.real, wanted, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(vector.imag, 0, atol=1e-12)


@pytest.fixture(scope="module")
def halves():
    return real_halves()


def test_real_messages_are_masked_in_both_parts_and_made_afresh(halves):
    model, plan, client, engine, key_id = halves
    run = ClientRun(plan, client, key_id, np.full((3, 16), 0.5))
    request = run.request()
    seen = []
    for _ in range(2):
        round_trip = Message.from_bytes(ServerRun(model, plan, engine, key_id).start(request))
        (ciphertext,) = round_trip.parts[0]
        seen.append((ciphertext, client.decrypt_complex(ciphertext)))
    parameters = plan.parameters
    half = 2.0 ** (parameters.modulus_bits(1) - parameters.scale_bits - 1)
    wanted = half * np.sqrt(parameters.ring_degree / 6)  # of N coefficients uniform up to half
    (one, a), (two, b) = seen
    for part in (a.real, a.imag, b.real, b.imag):
        assert part.std() == pytest.approx(wanted, rel=0.1)
    assert abs(np.corrcoef(a.real, b.real)[0, 1]) < 0.1
    difference = engine.sub(engine.load(one), engine.load(two))
    assert not difference.ciphertext.is_transparent()


def test_without_rerandomising_the_second_polynomial_is_that_of_the_request(halves, monkeypatch):
    """The difference of two replies to one request is then transparent, which SEAL refuses."""
    model, plan, client, engine, key_id = halves
    monkeypatch.setattr(type(engine), "rerandomise", lambda self, a: a)
    request = ClientRun(plan, client, key_id, np.full((3, 16), 0.5)).request()
    one, two = (
        Message.from_bytes(ServerRun(model, plan, engine, key_id).start(request)).parts[0][0]
        for _ in range(2)
    )
    with pytest.raises(PlanError, match="transparent"):
        engine.sub(engine.load(one), engine.load(two))
