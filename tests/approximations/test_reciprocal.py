import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from thex_hf.approximations.softmax import (
    HIDDEN,
    KEY_COUNTS,
    MAX_RELATIVE_ERROR,
    SUM_RANGE,
    ReciprocalNet,
    cubed_relu,
    load_reciprocal,
)
from thex_hf.errors import ConversionError


def test_error_stays_below_the_promised_bound():
    sums = np.geomspace(*SUM_RANGE, 50_000)
    assert np.abs(sums * load_reciprocal()(sums) - 1).max() <= MAX_RELATIVE_ERROR


def test_it_is_positive_and_never_rises_even_outside_its_range():
    values = load_reciprocal()(np.r_[0.0, np.geomspace(1e-3, 1e5, 5000)])
    assert values.min() > 0
    assert np.all(np.diff(values) <= 1e-12)


def test_range_covers_scores_up_to_three_at_all_lengths():
    assert cubed_relu(np.array(3.0)) * KEY_COUNTS[1] < SUM_RANGE[1]


def test_hidden_values_are_moderate():
    net, sums = load_reciprocal(), np.geomspace(*SUM_RANGE, 1000)
    first = sums[:, None] * net.w1 + net.b1
    second = np.maximum(first, 0) @ net.w2.T + net.b2
    assert np.abs(first).max() < 100
    assert np.abs(second).max() < 100
    assert np.abs(net.w3).max() < 10


def test_formula_and_shape():
    net = load_reciprocal()
    assert net.w2.shape == (HIDDEN, HIDDEN)
    s = np.array([[3.0, 70.0]])
    by_hand = [
        net.w3 @ np.maximum(net.w2 @ np.maximum(net.w1 * v + net.b1, 0) + net.b2, 0) + net.b3
        for v in s[0]
    ]
    np.testing.assert_allclose(net(s), [by_hand], rtol=1e-12)


def test_save_and_load(tmp_path):
    net = replace(load_reciprocal(), b3=0.25)
    net.save(tmp_path / "t.safetensors")
    loaded = load_reciprocal(tmp_path / "t.safetensors")
    assert loaded.fingerprint() == net.fingerprint() != load_reciprocal().fingerprint()


def test_bad_files_and_shapes(tmp_path):
    with pytest.raises(ConversionError, match="reinstall"):
        load_reciprocal(tmp_path / "none.safetensors")
    save_file({"w1": np.zeros(2)}, tmp_path / "part.safetensors")
    with pytest.raises(ConversionError, match="b1"):
        load_reciprocal(tmp_path / "part.safetensors")
    with pytest.raises(ConversionError, match="w2"):
        ReciprocalNet(*(np.zeros(3) for _ in range(5)), b3=0.0)


def test_record_of_training_is_about_the_shipped_weights():
    record = Path(__file__).parents[2] / "training" / "reciprocal.json"
    if not record.exists():
        pytest.skip("training records are not part of an installed package")
    found = json.loads(record.read_text())
    assert found["fingerprint"] == load_reciprocal().fingerprint()
    assert found["range"]["relative_error_max"] <= MAX_RELATIVE_ERROR
    assert set(found["by_length"]) == {"2", "4", "8", "16", "32", "64", "128"}
