import numpy as np
import pytest
from exact_engine import ExactEngine
from reference import clear_logits, random_weights

from thex_hf.encrypted.answers import answer_part
from thex_hf.encrypted.client_aided import make_plan
from thex_hf.encrypted.context import Context, RangeBits
from thex_hf.encrypted.encoder import encode
from thex_hf.encrypted.folding import fold
from thex_hf.layout.plains import PlainStore

SIZES = [
    ({}, 16, 13),
    ({}, 32, 32),
    ({"hidden": 64, "heads": 4, "intermediate": 96}, 64, 50),
    ({"layers": 1}, 16, 2),
    ({"layers": 3, "hidden": 48, "heads": 3, "intermediate": 100, "labels": 5}, 32, 30),
    ({"layers": 1, "hidden": 78, "heads": 6, "intermediate": 80, "labels": 70}, 32, 7),
]


def bits_for(weights):
    layers = len(weights.layers)
    return RangeBits((2,) * layers, (0,) + (2,) * (layers - 1))


def run_exactly(weights, tokens, embeddings, softmax="estimate"):
    """The whole circuit on numbers; returns (plan, engine, sent vectors by part, answer)."""
    plan = make_plan(weights, tokens, bits_for(weights), softmax=softmax)
    engine = ExactEngine(plan.shape.geometry.slots)
    run = Context(engine, PlainStore(), plan.shape, plan.bits, softmax)
    padded = np.zeros((tokens, weights.hidden))
    padded[: len(embeddings)] = embeddings
    mask = (np.arange(tokens) < len(embeddings)).astype(float)

    def encrypt(vectors, level):
        return [engine.encrypt(v, level) for v in vectors]

    request = [encrypt(lay.pack(padded[: lay.tokens]), lv) for lay, lv in plan.schedule.request]
    steps = encode(run, fold(weights), request)
    handles, seen = next(steps), []
    for visit in plan.schedule.visits:
        reply = []
        for part, sent in zip(visit.parts, handles, strict=True):
            vectors = [a[0] for a in sent]
            seen.append((part, vectors))
            packed = answer_part(part, vectors, mask, softmax)
            reply.append([encrypt(v, lv) for v, (_, lv) in zip(packed, part.returns, strict=True)])
        try:
            handles = steps.send(reply)
        except StopIteration as stop:
            return plan, engine, seen, [a[0] for a in stop.value], mask, padded
    raise AssertionError("the circuit did not end with the schedule")


@pytest.mark.parametrize("softmax", ["estimate", "exact", "estimate-on-server"])
@pytest.mark.parametrize(("sizes", "tokens", "length"), SIZES)
def test_circuit_equals_the_formulas(sizes, tokens, length, softmax):
    weights = random_weights(**sizes)
    embeddings = np.random.default_rng(1).normal(size=(length, weights.hidden)) * 0.7
    plan, engine, _, answer, mask, padded = run_exactly(weights, tokens, embeddings, softmax)
    wanted = clear_logits(weights, padded, mask, softmax)
    # masks of 2**32 leave float64 about 1e-6
    np.testing.assert_allclose(plan.schedule.answer.unpack(answer)[0], wanted, atol=1e-5)
    assert engine.rules.rotations == set(plan.rotations)


@pytest.mark.parametrize(("sizes", "tokens", "length"), SIZES[:5])
def test_the_client_sees_nothing_beyond_the_named_values(sizes, tokens, length):
    weights = random_weights(**sizes)
    embeddings = np.random.default_rng(1).normal(size=(length, weights.hidden)) * 0.7
    plan, _, seen, answer, _, _ = run_exactly(weights, tokens, embeddings)
    for part, vectors in seen:
        if part.op == "refresh":
            assert min(np.abs(v).max() for v in vectors) > 2**30  # every ciphertext is masked
            continue
        values = part.sends.unpack(vectors)
        if part.op == "softmax" and part.sends.kind == "row":
            columns = part.sends.geometry.columns
            held = np.arange(plan.shape.geometry.slots) % columns < part.sends.geometry.tile
        else:
            held = np.ones(plan.shape.geometry.slots, dtype=bool)
        padded = part.sends.pack(values)
        tile = plan.shape.geometry.tile
        whole = tokens % tile == 0
        assert whole
        for vector, wanted in zip(vectors, padded, strict=True):
            np.testing.assert_allclose(vector, np.where(held, wanted, 0.0), atol=1e-4)
    for vector, wanted in zip(
        answer, plan.schedule.answer.pack(plan.schedule.answer.unpack(answer)), strict=True
    ):
        np.testing.assert_array_equal(vector, wanted)


def test_masks_are_fresh_and_hide_every_slot():
    weights = random_weights()
    embeddings = np.random.default_rng(1).normal(size=(10, weights.hidden))
    first, second = (run_exactly(weights, 16, embeddings)[2] for _ in range(2))
    for (part, one), (_, two) in zip(first, second, strict=True):
        if part.op == "refresh":
            for a, b in zip(one, two, strict=True):
                assert (a != b).all()
                assert np.median(np.abs(a)) > 2**29
