import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thex_hf.approximations.activation import relu
from thex_hf.approximations.layernorm import affine
from thex_hf.approximations.layernorm import exact as exact_norm
from thex_hf.approximations.softmax import (
    MAX_RELATIVE_ERROR,
    SUM_RANGE,
    cubed_relu,
    estimate,
    exact,
    load_reciprocal,
)


def test_cubed_relu_at_known_points():
    scores = np.array([-5.0, -2.0, 0.0, 2.0, 4.0])
    assert cubed_relu(scores).tolist() == [0.0, 0.0, 1.0, 8.0, 27.0]


def test_relu_and_affine():
    assert relu(np.array([-1.0, 0.0, 2.0])).tolist() == [0.0, 0.0, 2.0]
    out = affine(np.array([[1.0, 2.0]]), np.array([3.0, 4.0]), np.array([0.5, -0.5]))
    assert out.tolist() == [[3.5, 7.5]]


def test_exact_norm_has_mean_zero_and_deviation_one():
    x = np.random.default_rng(0).normal(3, 5, (4, 8))
    out = exact_norm(x, np.ones(8), np.zeros(8))
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(out.std(-1), 1, atol=1e-9)


def test_exact_softmax_ignores_masked_keys():
    scores = np.array([[1.0, 2.0, 900.0]])
    out = exact(scores, np.array([1.0, 1.0, 0.0]))
    e = np.exp([1.0, 2.0])
    np.testing.assert_allclose(out[0], [*(e / e.sum()), 0.0])


def test_exact_softmax_with_everything_masked_is_zero():
    assert exact(np.ones((2, 3)), np.zeros(3)).tolist() == [[0.0] * 3] * 2


@given(st.integers(1, 128), st.integers(0, 2**32 - 1))
def test_estimate_is_a_distribution_and_pads_weigh_nothing(length, seed):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-1, 3, (2, length + 3))
    mask = np.r_[np.ones(length), np.zeros(3)]
    out = estimate(scores, mask, load_reciprocal())
    assert np.all(out[:, length:] == 0)
    assert np.all(out >= 0)
    covered = (cubed_relu(scores) * mask).sum(-1) >= SUM_RANGE[0]
    np.testing.assert_allclose(out.sum(-1)[covered], 1, atol=MAX_RELATIVE_ERROR)
    shorter = estimate(scores[:, :length], mask[:length], load_reciprocal())
    np.testing.assert_allclose(out[:, :length], shorter, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("length", [16, 128])
def test_estimate_is_close_to_softmax_and_an_exact_reciprocal_hardly_closer(length):
    scores = np.random.default_rng(1).uniform(-3, 3, (500, length))
    mask = np.ones(length)
    truth = exact(scores, mask)

    def distance(net):
        return np.abs(estimate(scores, mask, net) - truth).sum(-1).mean() / 2

    assert distance(load_reciprocal()) < 0.08
    assert abs(distance(load_reciprocal()) - distance(lambda s: 1 / s)) < 0.003
