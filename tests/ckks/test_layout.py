import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from thex_hf.ckks.packing.attention import AttentionLayout
from thex_hf.ckks.packing.layout import ONE_TOKEN, Geometry, Layout
from thex_hf.errors import PlanError

KINDS = ("dup", "solo", "back", "skew-", "skew+", "split")


@settings(max_examples=examples(60))
@given(
    kind=st.sampled_from(KINDS + ONE_TOKEN),
    tokens=st.integers(1, 70),
    features=st.integers(1, 140),
    tile=st.sampled_from([4, 8, 16]),
)
def test_unpack_inverts_pack(kind, tokens, features, tile):
    tokens = 1 if kind in ONE_TOKEN else tokens
    layout = Layout(Geometry(512, tile), kind, tokens, features)
    matrix = np.random.default_rng(0).normal(size=(tokens, features))
    vectors = layout.pack(matrix)
    assert len(vectors) == layout.ciphertexts
    assert all(vector.shape == (512,) for vector in vectors)
    np.testing.assert_array_equal(layout.unpack(vectors), matrix)


@settings(max_examples=examples(40))
@given(
    kind=st.sampled_from(["minus", "plus", "row"]),
    heads=st.integers(1, 3),
    keys=st.integers(1, 40),
    tile=st.sampled_from([4, 8, 16]),
)
def test_pairs_unpack_inverts_pack(kind, heads, keys, tile):
    queries = 1 if kind == "row" else keys
    layout = AttentionLayout(Geometry(512, tile), kind, heads, queries, keys)
    array = np.random.default_rng(0).normal(size=(heads, queries, keys))
    vectors = layout.pack(array)
    assert len(vectors) == layout.ciphertexts
    np.testing.assert_array_equal(layout.unpack(vectors), array)


def test_slots_follow_the_definition():
    geometry = Geometry(64, 4)  # C = 8 columns, F = 8 rows
    matrix = np.arange(4 * 8, dtype=float).reshape(4, 8)
    slots = {k: Layout(geometry, k, 4, 8).pack(matrix)[0].reshape(8, 8) for k in KINDS[:5]}
    for f in range(8):
        for c in range(8):
            assert slots["dup"][f, c] == matrix[c % 4, f]
            assert slots["solo"][f, c] == (matrix[c, f] if c < 4 else 0)
            assert slots["back"][f, c] == (0 if c < 4 else matrix[c - 4, f])
            assert slots["skew-"][f, c] == matrix[(c - f) % 4, f]
            assert slots["skew+"][f, c] == matrix[(c + f) % 4, f]


@pytest.mark.parametrize("tokens", [2, 16, 32, 64, 128])
@pytest.mark.parametrize("slots", [2048, 4096, 8192, 16384])
def test_fitted_geometry_keeps_the_kernels_conditions(slots, tokens):
    geometry = Geometry.fit(slots, tokens)
    assert geometry.features * geometry.columns == slots
    assert geometry.features % geometry.tile == 0
    assert geometry.tile % geometry.baby_steps == 0
    assert geometry.features % geometry.baby_steps == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(PlanError, match="does not fit"):
        Geometry(64, 8)
    with pytest.raises(PlanError, match="too few"):
        Geometry.fit(4, 128)
    with pytest.raises(PlanError, match="unknown layout kind"):
        Layout(Geometry(64, 4), "diagonal", 4, 8)
    with pytest.raises(PlanError, match="one token"):
        Layout(Geometry(64, 4), "row", 2, 8)
    with pytest.raises(PlanError, match="expects shape"):
        Layout(Geometry(64, 4), "dup", 4, 8).pack(np.zeros((8, 4)))
    with pytest.raises(PlanError, match="vectors"):
        Layout(Geometry(64, 4), "dup", 4, 8).unpack([])
