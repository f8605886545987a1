import numpy as np
import pytest
from aided_runs import run_exactly
from exact_engine import MASK_ROUNDING
from reference import clear_logits, random_weights

SIZES = [
    ({}, 16, 13),
    ({}, 32, 32),
    ({"hidden": 64, "heads": 4, "intermediate": 96}, 64, 50),
    ({"layers": 1}, 16, 2),
    ({"layers": 3, "hidden": 48, "heads": 3, "intermediate": 100, "labels": 5}, 32, 30),
    ({"layers": 1, "hidden": 78, "heads": 6, "intermediate": 80, "labels": 70}, 32, 7),
]


@pytest.mark.parametrize("softmax", ["estimate", "exact", "estimate-on-server"])
@pytest.mark.parametrize(("sizes", "tokens", "length"), SIZES)
def test_circuit_equals_the_formulas(sizes, tokens, length, softmax):
    weights = random_weights(**sizes)
    embeddings = np.random.default_rng(1).normal(size=(length, weights.hidden)) * 0.7
    plan, engine, _, answer, mask, padded = run_exactly(weights, tokens, embeddings, softmax)
    wanted = clear_logits(weights, padded, mask, softmax)
    found = plan.schedule.answer.unpack(answer)[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=MASK_ROUNDING)
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
            np.testing.assert_allclose(vector, np.where(held, wanted, 0.0), atol=MASK_ROUNDING)
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
