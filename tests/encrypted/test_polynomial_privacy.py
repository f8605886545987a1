"""What leaves the server under ``refresh`` and ``one-shot``."""

import numpy as np
import pytest
from exact_engine import ExactEngine
from polynomial_runs import CASES, pack_request, run_exactly
from reference import random_polynomial_weights

from thex_hf.backends.seal import BACKEND
from thex_hf.encrypted.circuits import plan_for
from thex_hf.encrypted.context import RangeBits
from thex_hf.encrypted.flood import NO_FLOOD
from thex_hf.encrypted.masks import HIDING_BITS
from thex_hf.encrypted.planner import shape_of
from thex_hf.encrypted.polynomial.folding import fold_polynomial
from thex_hf.encrypted.polynomial.planner import make_polynomial_plan, polynomial_program
from thex_hf.encrypted.polynomial.route import routes
from thex_hf.errors import PlanError
from thex_hf.layout.plains import PlainStore
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.messages import Message
from thex_hf.protocol.requests import key_request
from thex_hf.protocol.server import ServedModel, ServerRun

VALUE_BITS = 4  # run_exactly plans for streams below 2**4


def visits(text_seed, scale=1.0):
    weights = random_polynomial_weights()
    shape = shape_of(weights, 16, 4096)
    route = routes(shape, 2, 1, 99)[-1]
    _, _, engine, seen = run_exactly(weights, route, 16, seed=text_seed)
    return [np.concatenate(vectors) for vectors in seen], engine


def test_what_the_client_decrypts_does_not_depend_on_the_text():
    """Two texts give samples of every visit that no two-sample test can tell apart."""
    stats = pytest.importorskip("scipy.stats")
    one, engine = visits(1)
    two, _ = visits(2)
    assert len(one) == 3
    for a, b in zip(one, two, strict=True):
        for part in (np.real, np.imag):
            assert stats.ks_2samp(part(a), part(b)).pvalue > 1e-6
            uniform = stats.uniform(
                -(2.0 ** (VALUE_BITS + HIDING_BITS)), 2.0 ** (VALUE_BITS + HIDING_BITS + 1)
            )
            assert stats.kstest(part(a), uniform.cdf).pvalue > 1e-6
    # every visit and the answer were made independent of the ciphertexts that came in
    out = sum(n for (verb, _), n in engine.rules.operations.items() if verb == "rerandomise")
    assert out == sum(len(v) for v in one) // engine.slots + 1


def test_the_same_test_sees_a_mask_that_is_too_small(monkeypatch):
    stats = pytest.importorskip("scipy.stats")
    monkeypatch.setattr("thex_hf.encrypted.masks.HIDING_BITS", -6)
    values = []
    for seen in visits(1)[0]:
        bound = np.abs(seen.imag).max()
        values.append(stats.kstest(seen.real, stats.uniform(-bound, 2 * bound).cdf).pvalue)
    assert min(values) < 1e-6


def test_the_stated_level_follows_from_range_and_mask():
    """Shifting a uniform mask by a value changes its distribution by value / width."""
    weights = random_polynomial_weights()
    ranges = [{"attention_out": 7.0, "stream_in": 5.0}] * 2
    plan = plan_for(weights, 16, ranges, protocol="refresh", ring_degree=8192)
    assert plan.bits.stream == (4, 4, 4)  # twice the range that was seen
    for stage in plan.options["rests"]:
        width = 2.0 ** (plan.bits.stream[stage] + HIDING_BITS)
        assert 2 * 7.0 / (2 * width) <= 2.0**-HIDING_BITS
        level = plan.options["exit_level"]
        room = plan.parameters.modulus_bits(level) - plan.parameters.scale_bits
        assert np.log2(2 * width) < room  # the masked value does not wrap around
    assert HIDING_BITS >= 30


def test_a_mask_that_no_modulus_carries_is_refused():
    weights = random_polynomial_weights()
    bits = RangeBits((), (40, 40, 40))
    with pytest.raises(PlanError, match="refresh: no ring"):
        make_polynomial_plan(weights, 16, bits, protocol="refresh")


@pytest.mark.parametrize("case", CASES)
def test_the_answer_holds_logits_and_nothing_else(case):
    """Before flooding, every slot but those of the logits is exactly zero."""
    sizes, slots, tokens, length = CASES[case]
    weights = random_polynomial_weights(**sizes)
    route = routes(shape_of(weights, tokens, 2 * slots), weights.layers[0].polynomial.power, 1, 0)[
        0
    ]
    engine = ExactEngine(slots)
    program = polynomial_program(route, RangeBits((), ()), fold_polynomial(weights), NO_FLOOD)
    embeddings = np.random.default_rng(0).normal(size=(length, weights.hidden))
    request = [
        [engine.encrypt(v, level) for v in vectors]
        for vectors, level in pack_request(route.schedule, embeddings, tokens)
    ]
    with pytest.raises(StopIteration) as stop:
        next(program(engine, PlainStore(), request))
    answer = [a[0] for a in stop.value.value]
    bar = route.shape.bar
    logits = bar.unpack([v.real for v in answer])
    for vector, wanted in zip(answer, bar.pack(logits), strict=True):
        assert np.abs(vector[wanted == 0]).max() < 1e-250
        np.testing.assert_allclose(vector.real, wanted, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(vector.imag, 0, atol=1e-12)


@pytest.fixture(scope="module")
def halves():
    """A small model under real encryption at 128 bits, with rests."""
    weights = random_polynomial_weights(layers=1, hidden=16, intermediate=16)
    plan = plan_for(weights, 16, [{"attention_out": 7.0}], protocol="refresh", ring_degree=8192)
    secret, evaluation = BACKEND.generate(key_request(plan))
    client = BACKEND.client(plan.parameters, secret)
    server = BACKEND.server(plan.parameters, evaluation, plan.rotations)
    return ServedModel(weights), plan, client, server, evaluation.key_id


def test_real_messages_are_masked_in_both_parts_and_made_afresh(halves):
    model, plan, client, engine, key_id = halves
    run = ClientRun(plan, client, key_id, np.full((3, 16), 0.5))
    request = run.request()
    seen = []
    for _ in range(2):
        visit = Message.from_bytes(ServerRun(model, plan, engine, key_id).start(request))
        (ciphertext,) = visit.parts[0]
        seen.append((ciphertext, client.decrypt_complex(ciphertext)))
    for _, values in seen:
        for part in (values.real, values.imag):
            assert np.median(np.abs(part)) > 2.0 ** (HIDING_BITS + plan.bits.stream[0] - 2)
    (one, a), (two, b) = seen
    assert np.median(np.abs(a - b)) > 2.0**HIDING_BITS
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
