import numpy as np
import pytest
from exact_engine import MASK_ROUNDING, ExactEngine
from reference import polynomial_logits, random_polynomial_weights

from thex_hf.backends.base import KeyRequest
from thex_hf.backends.clear.backend import ClearBackend
from thex_hf.backends.registry import get_backend
from thex_hf.backends.seal.backend import SealBackend
from thex_hf.circuits.batched.circuit import baby_steps
from thex_hf.circuits.batched.planner import (
    batch_bits,
    batched_circuit,
    batching_is_faster,
    make_batch_plan,
)
from thex_hf.circuits.dispatch import batch_plan_for, plan_for
from thex_hf.circuits.flood import Flood
from thex_hf.circuits.masks import RangeBits
from thex_hf.circuits.planning import shape_of
from thex_hf.circuits.polynomial.folding import fold_batch
from thex_hf.circuits.polynomial.refresh_schedule import BatchedRefreshSchedule
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.circuits.shape import BatchLayout
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import InputError, OptionError, PlanError
from thex_hf.protocol.client import BatchClientRun, exchange
from thex_hf.protocol.costs import estimate, measure_costs
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.server import ServedModel, ServerRun

SMALL = {"hidden": 16, "intermediate": 24}
# sizes of the model, slots, tokens
CASES = {
    "even": (SMALL, 64, 8),
    "odd sizes": ({"hidden": 15, "heads": 3, "intermediate": 25, "labels": 3}, 64, 8),
    "odd pairs": ({"hidden": 15, "heads": 5, "intermediate": 9, "labels": 1}, 64, 16),
    "one layer": ({**SMALL, "layers": 1}, 64, 8),
    "three layers": ({**SMALL, "layers": 3}, 32, 8),
    "power four": ({**SMALL, "power": 4}, 64, 16),
    "power six": ({"hidden": 8, "intermediate": 9, "power": 6}, 64, 16),
    "centred norms": ({**SMALL, "centred": True}, 64, 8),
    "one text": (SMALL, 16, 16),
}
VALUE_BITS = 4


def random_texts(count, tokens, hidden, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rng.integers(1, tokens + 1), hidden)) * 0.7 for _ in range(count)]


def packed_request(schedule, texts):
    layout = schedule.request[0][0]
    padded = np.zeros((layout.texts, layout.tokens, layout.features))
    share = np.zeros((layout.texts, layout.tokens, 1))
    for index, text in enumerate(texts):
        padded[index, : len(text)], share[index, : len(text)] = text, 1 / len(text)
    contents = [padded] * len(schedule.request) + [share]
    for values, (layout, level) in zip(contents, schedule.inputs, strict=True):
        yield layout.pack(values), level


FAINT = Flood(30, -30)


def drive(weights, refreshes, texts, engine, encrypt, renew, flood=FAINT):
    """The handles of the answer, and what the client saw at each visit."""
    schedule = refreshes.schedule
    bits = RangeBits((), (VALUE_BITS,) * (2 * len(weights.layers)))
    circuit = batched_circuit(refreshes, bits, fold_batch(weights), flood)
    request = [[encrypt(v, level) for v in vs] for vs, level in packed_request(schedule, texts)]
    steps, seen = circuit(engine, PlaintextCache(), request), []
    try:
        sent = next(steps)
        for round_trip in schedule.round_trips:
            (part,), (handles,) = round_trip.parts, sent
            assert [engine.level(a) for a in handles] == [part.level] * part.sends.ciphertexts
            seen.append(handles)
            sent = steps.send([renew(handles, part.moves)])
    except StopIteration as stop:
        answer = stop.value
    assert [engine.level(a) for a in answer] == [0] * schedule.answer.ciphertexts
    return answer, seen


def run_exactly(weights, refreshes, texts, **options):
    engine = ExactEngine(refreshes.shape.geometry.slots)

    def renew(handles, moves):
        vectors = [a[0] for a in handles]
        return [[engine.encrypt(v, level) for v in move.apply(vectors)] for move, level in moves]

    answer, seen = drive(weights, refreshes, texts, engine, engine.encrypt, renew, **options)
    return [a[0] for a in answer], [[a[0] for a in handles] for handles in seen]


def wanted_logits(weights, texts):
    return np.array([polynomial_logits(weights, text) for text in texts])


def refresh_schedules_of(weights, slots, tokens):
    shape = shape_of(weights, tokens, 2 * slots)
    return BatchedRefreshSchedule.best(shape, weights.layers[0].polynomial.power, 1, 99)


# --- layout -----------------------------------------------------------------


@pytest.mark.parametrize("features", [1, 4, 5])
@pytest.mark.parametrize("kind", ["pairs", "plain"])
def test_layout_round_trip(kind, features):
    layout = BatchLayout(32, kind, 8, features)
    values = np.random.default_rng(0).normal(size=(4, 8, features))
    vectors = layout.pack(values)
    assert (
        len(vectors) == layout.ciphertexts == (features if kind == "plain" else -(-features // 2))
    )
    np.testing.assert_array_equal(layout.unpack(vectors), values)
    turned = layout.unpack([np.roll(v, -3 * layout.texts) for v in vectors])
    np.testing.assert_array_equal(turned, np.roll(values, -3, axis=1))


def test_layouts_of_the_first_token():
    values = np.random.default_rng(0).normal(size=(4, 8, 3))
    row, pairs = BatchLayout(32, "row", 8, 3), BatchLayout(32, "pairs", 8, 3)
    first = np.repeat(values[:, :1], 8, axis=1)
    np.testing.assert_array_equal(row.unpack(row.pack(values)), first)
    vectors = pairs.pack(values)
    np.testing.assert_array_equal(row.unpack(pairs.move_to(row).apply(vectors)), first)
    np.testing.assert_array_equal(pairs.move_to(pairs).apply(vectors), vectors)
    assert pairs.move_to(pairs).still
    assert not pairs.move_to(row).still
    answer = BatchLayout(32, "answer", 8, 3)
    np.testing.assert_array_equal(answer.unpack(answer.pack(values))[:, 0], values[:, 0])
    assert not answer.unpack(answer.pack(values))[:, 1:].any()


def test_layout_refuses():
    with pytest.raises(PlanError, match="unknown batch layout"):
        BatchLayout(32, "solo", 8, 3)
    with pytest.raises(PlanError, match="do not divide"):
        BatchLayout(32, "pairs", 5, 3)
    with pytest.raises(PlanError, match="expects shape"):
        BatchLayout(32, "pairs", 8, 3).pack(np.zeros((8, 4, 3)))
    with pytest.raises(PlanError, match="2 vectors"):
        BatchLayout(32, "pairs", 8, 3).unpack([np.zeros(32)])


# --- circuit ----------------------------------------------------------------


@pytest.mark.parametrize("rests", [0, 1, 2, 99])
@pytest.mark.parametrize("case", CASES)
def test_circuit_equals_the_formulas(case, rests):
    sizes, slots, tokens = CASES[case]
    weights = random_polynomial_weights(**sizes)
    every = refresh_schedules_of(weights, slots, tokens)
    refreshes = every[min(rests, len(every) - 1)]
    texts = random_texts(max(1, refreshes.texts - 1), tokens, weights.hidden)
    answer, _ = run_exactly(weights, refreshes, texts)
    found = refreshes.schedule.answer.unpack(answer)[: len(texts), 0]
    np.testing.assert_allclose(found, wanted_logits(weights, texts), rtol=0, atol=MASK_ROUNDING)


def test_nothing_but_logits_and_noise_leaves():
    weights = random_polynomial_weights(**SMALL)
    refreshes = refresh_schedules_of(weights, 64, 8)[-1]
    answer, _ = run_exactly(weights, refreshes, random_texts(8, 8, 16), flood=Flood(8, 3))
    for values in answer:
        rest = values[refreshes.texts :]
        assert 0.9 * 2**3 < np.abs(rest.real).max() <= 2**3
        assert 0.9 * 2**3 < np.abs(values.imag).max() <= 2**3


def test_what_rests_is_masked_in_both_parts_of_every_slot():
    weights = random_polynomial_weights(**SMALL)
    refreshes = refresh_schedules_of(weights, 64, 8)[-1]
    _, seen = run_exactly(weights, refreshes, random_texts(8, 8, 16))
    assert len(seen) == 3
    for vectors in seen:  # by the blind of the engine, here normal, of size 2**10
        for part in (np.real(vectors), np.imag(vectors)):
            assert np.std(part) == pytest.approx(2.0**10, rel=0.1)


def test_levels():
    weights = random_polynomial_weights(**SMALL)
    levels = {
        refreshes.points: refreshes.levels for refreshes in refresh_schedules_of(weights, 64, 8)
    }
    assert levels == {
        (): (15, 11, 8, 3),
        (1,): (8, 4, 7, 3),
        (0, 1): (5, 4, 7, 3),
        (0, 1, 2): (5, 4, 5, 3),
    }


def test_baby_steps():
    assert [baby_steps(tokens) for tokens in (1, 2, 8, 16, 32, 128)] == [1, 2, 4, 4, 8, 16]


# --- plan and roles ---------------------------------------------------------


def test_plan():
    weights = random_polynomial_weights(hidden=128, heads=2, intermediate=512)
    plan = make_batch_plan(weights, 32, RangeBits((), (6, 6, 6)), PlanOptions("refresh"))
    assert plan.parameters.ring_degree == 8192
    plan.parameters.require_128_bit()
    assert plan.options["packing"] == "batch"
    assert plan.options["sentences"] == 128
    assert BatchedRefreshSchedule.of(plan).schedule == plan.schedule
    assert len(plan.rotations) == 6
    assert [layout.ciphertexts for layout, _ in plan.schedule.inputs] == [64, 1]
    described = plan.to_json()
    assert described["sentences"] == 128
    assert described["rounds"] == 4
    single = plan_for(weights, 32, None, PlanOptions("refresh"))
    assert plan.id != single.id
    assert not batching_is_faster(plan, single, 1)
    assert batching_is_faster(plan, single, 64)
    assert batching_is_faster(plan, single, 1000, processes=2)


def test_costs_of_a_plan():
    weights = random_polynomial_weights(hidden=8, intermediate=12)
    plan = batch_plan_for(weights, 16, None, PlanOptions("refresh", ring=8192))
    costs = measure_costs(get_backend("clear"), [plan])
    assert estimate(plan, costs).server_seconds > 0


def test_plans_that_there_are_not():
    weights = random_polynomial_weights(**SMALL)
    bits = batch_bits(weights, None)
    assert bits.stream == (7, 7, 7)
    with pytest.raises(PlanError, match="one by one"):
        make_batch_plan(weights, 16, bits, PlanOptions("one-shot", ring=8192))
    with pytest.raises(OptionError, match="ring must be"):
        PlanOptions("refresh", ring=4096)
    plan = batch_plan_for(weights, 16, None, PlanOptions("one-shot"))
    assert plan.schedule.rounds == 1
    assert plan.options["sentences"] == 1024


def test_calibrated_bits():
    weights = random_polynomial_weights(**SMALL)
    seen = {"stream_in": 3.0, "value": 1.5, "scores": 2.0, "attention_out": 3.0}
    bits = batch_bits(weights, [seen, seen]).stream
    terms = weights.layers[0].polynomial
    most = (terms.score_scale * (2.0 + terms.score_shift) ** 2).max() * 1.5
    assert bits[0] == np.ceil(np.log2(2 * most))
    assert bits[1] == 3


@pytest.fixture(scope="module")
def sides():
    weights = random_polynomial_weights(hidden=8, intermediate=12)
    plan = batch_plan_for(weights, 16, None, PlanOptions("refresh"))
    backend = get_backend("clear")
    secret, evaluation = backend.generate(key_request(plan))
    client = backend.client(plan.parameters, secret)
    server = backend.server(plan.parameters, evaluation, plan.rotations)
    return weights, plan, client, server, secret.key_id


def test_the_roles_classify_a_batch(sides):
    weights, plan, client, server, key_id = sides
    texts = random_texts(5, 16, 8)
    run = BatchClientRun(plan, client, key_id, texts)
    done = exchange(run, ServerRun(ServedModel(weights), plan, server, key_id).answer)
    assert done.rounds == plan.schedule.rounds == 4
    assert done.logits.shape == (5, 2)
    np.testing.assert_allclose(done.logits, wanted_logits(weights, texts), rtol=0, atol=0.02)


def test_the_client_refuses(sides):
    _, plan, client, _, key_id = sides
    text = np.zeros((3, 8))
    for texts, match in [
        ([], "1 to 256 texts"),
        ([text] * 257, "1 to 256 texts"),
        ([text, np.zeros((17, 8))], "1 to 16 embeddings"),
        ([text, np.zeros((3, 9))], "of size 8"),
        ([text, text * np.nan], "NaN"),
    ]:
        with pytest.raises(InputError, match=match):
            BatchClientRun(plan, client, key_id, texts)


@pytest.mark.parametrize("backend", [SealBackend, ClearBackend])
def test_ciphertexts_of_a_small_ring(backend):
    weights = random_polynomial_weights(hidden=8, intermediate=8, labels=3)
    refreshes = refresh_schedules_of(weights, 512, 16)[-1]
    parameters = Parameters(1024, (46, *(34,) * refreshes.top_level), 46, 34)
    machine = backend.insecure_for_tests()
    steps = tuple(2**k * refreshes.texts for k in range(4))
    steps += (-baby_steps(16) * refreshes.texts % 512,)
    secret, evaluation = machine.generate(KeyRequest(parameters, steps, True, True, True))
    client = machine.client(parameters, secret)
    server = machine.server(parameters, evaluation, steps)
    texts = random_texts(refreshes.texts - 1, 16, 8)

    answer, _ = drive(
        weights,
        refreshes,
        texts,
        server,
        lambda vector, level: server.load(client.encrypt(vector, level)),
        lambda handles, moves: [
            [server.load(data) for data in packing]
            for packing in client.renew([server.dump(a) for a in handles], moves)
        ],
        flood=Flood(12, -12),
    )
    found = refreshes.schedule.answer.unpack([client.decrypt(server.dump(a)) for a in answer])
    np.testing.assert_allclose(
        found[: len(texts), 0], wanted_logits(weights, texts), rtol=0, atol=3e-3
    )
    assert np.abs(found[:, 1:]).max() < 1e-3
