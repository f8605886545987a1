import numpy as np
import pytest
from exact_engine import ExactEngine
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from thex_hf.ckks.packing import attention as kernels
from thex_hf.ckks.packing.attention import AttentionLayout
from thex_hf.ckks.packing.layout import Geometry, Layout
from thex_hf.ckks.packing.matmul import (
    BabySteps,
    Matrix,
    fill_groups,
    fold_groups,
    matmul,
    sum_columns,
    sum_features,
)
from thex_hf.ckks.plaintext_cache import PlaintextCache

SLOTS = 512
PAIRS = [
    ("dup", "solo"),
    ("dup", "dup"),
    ("dup", "split"),
    ("skew-", "skew-"),
    ("row", "row"),
    ("row", "fan"),
    ("row", "cell"),
]


def apply(weight, x, source, target, tokens=None):
    """Multiply through the kernel; returns (result, engine)."""
    geometry = Geometry(SLOTS, 16)
    tokens = len(x)
    inner = Layout(geometry, source, tokens, weight.shape[1])
    outer = Layout(geometry, target, tokens, weight.shape[0])
    engine = ExactEngine(SLOTS)
    outputs = outer.maps()
    if source == "skew-":  # a skewed product is valid in group 0
        outputs = Layout(geometry, "solo", tokens, weight.shape[0]).maps()
    matrix = Matrix("w", weight, inner.maps(), outputs)
    handles = [engine.encrypt(v, 3) for v in inner.pack(x)]
    out = []
    for tile in range(inner.tiles):
        part = handles[tile * inner.blocks : (tile + 1) * inner.blocks]
        steps = BabySteps(engine, geometry, part, skew=source == "skew-")
        out += matmul(PlaintextCache(), matrix, [steps])[0]
    if source == "skew-":
        out = [fill_groups(engine, geometry, a) for a in out]
    assert all(engine.level(a) == 2 for a in out)
    return outer, [a[0] for a in out], engine


@settings(max_examples=examples(40))
@given(
    kinds=st.sampled_from(PAIRS),
    tokens=st.integers(1, 33),
    inner=st.integers(1, 50),
    outer=st.integers(1, 50),
)
def test_matmul_equals_numpy(kinds, tokens, inner, outer):
    rng = np.random.default_rng(inner * 64 + outer)
    tokens = 1 if kinds[0] == "row" else tokens
    weight, x = rng.normal(size=(outer, inner)), rng.normal(size=(tokens, inner))
    layout, vectors, _ = apply(weight, x, *kinds)
    np.testing.assert_allclose(layout.unpack(vectors), x @ weight.T, atol=1e-12)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_matmul_leaves_no_waste(source, target):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1 if source == "row" else 16, 40))
    weight = rng.normal(size=(24, 40))
    layout, vectors, _ = apply(weight, x, source, target)
    for vector, wanted in zip(vectors, layout.pack(x @ weight.T), strict=True):
        np.testing.assert_allclose(vector, wanted, atol=1e-12)


def test_matmul_uses_two_rotation_keys():
    x, weight = np.ones((16, 32)), np.ones((32, 32))
    _, _, engine = apply(weight, x, "dup", "solo")
    geometry = Geometry(SLOTS, 16)
    assert engine.rules.rotations == {geometry.columns, geometry.columns * geometry.baby_steps}


def test_scores_and_context_equal_numpy():
    geometry = Geometry(SLOTS, 8)  # F = 32 rows, C = 16 columns
    rng = np.random.default_rng(1)
    query, key, value = (rng.normal(size=(8, 32)) for _ in range(3))
    engine = ExactEngine(SLOTS)

    def one(kind, matrix):
        return engine.encrypt(Layout(geometry, kind, 8, 32).pack(matrix)[0], 2)

    rotations = kernels.feature_rotations(engine, geometry, one("solo", query))
    partial = {}
    for b, a, rotated in kernels.key_rotations(engine, geometry, one("skew-", key)):
        kernels.accumulate(engine, partial, b, rotations[a], rotated)
    scores = kernels.finish_scores(engine, geometry, partial)
    layout = AttentionLayout(geometry, "minus", 1, 8, 8)
    np.testing.assert_allclose(layout.unpack([scores[0]])[0], query @ key.T, atol=1e-12)
    np.testing.assert_allclose(scores[0], layout.pack((query @ key.T)[None])[0], atol=1e-12)

    weights = AttentionLayout(geometry, "plus", 1, 8, 8).pack((query @ key.T)[None])[0]
    rotations = kernels.feature_rotations(engine, geometry, engine.encrypt(weights, 2))
    partial = {}
    for b, a, rotated in kernels.value_rotations(engine, geometry, one("skew+", value)):
        kernels.accumulate(engine, partial, b, rotations[a], rotated)
    context = kernels.finish(engine, geometry, partial)
    wanted = Layout(geometry, "solo", 8, 32).pack(query @ key.T @ value)[0]
    np.testing.assert_allclose(context[0], wanted, atol=1e-11)


def test_sums():
    geometry = Geometry(SLOTS, 8)
    engine = ExactEngine(SLOTS)
    values = np.random.default_rng(2).normal(size=(geometry.features, geometry.columns))
    a = engine.encrypt(values.ravel(), 1)
    total = sum_features(engine, geometry, a)[0].reshape(values.shape)
    np.testing.assert_allclose(total, np.broadcast_to(values.sum(0), values.shape), atol=1e-12)
    window = sum_columns(engine, geometry, a, 8)[0].reshape(values.shape)
    np.testing.assert_allclose(window[:, 0], values[:, :8].sum(1), atol=1e-12)
    folded = fold_groups(engine, geometry, a)[0].reshape(values.shape)
    np.testing.assert_allclose(folded[:, :8], values[:, :8] + values[:, 8:], atol=1e-12)
    values[:, 8:] = 0
    filled = fill_groups(engine, geometry, engine.encrypt(values.ravel(), 1))[0]
    np.testing.assert_allclose(filled.reshape(values.shape)[:, 8:], values[:, :8], atol=1e-12)
