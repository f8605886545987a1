import numpy as np
import pytest

from thex_hf.approximations.activation import density, gelu, interval_of, minimax, relu, softplus
from thex_hf.errors import ConversionError


def test_known_values():
    x = np.array([-50.0, -1.0, 0.0, 1.0, 50.0])
    np.testing.assert_allclose(gelu(x), [0, -0.15865525, 0, 0.84134475, 50], atol=1e-7)
    np.testing.assert_allclose(softplus(x), [0, 0.31326169, np.log(2), 1.31326169, 50], atol=1e-7)


def test_minimax_finds_chebyshevs_answers():
    fit = minimax(np.abs, (-1.0, 1.0), degree=2)  # |x| ~ x^2 + 1/8, error 1/8
    np.testing.assert_allclose(fit.coefficients, [1, 0, 0.125], atol=5e-3)
    assert fit.largest_error == pytest.approx(0.125, abs=1e-3)
    line = minimax(np.square, (0.0, 2.0), degree=1)  # x^2 ~ 2x - 1/2, error 1/2
    np.testing.assert_allclose(line.coefficients, [2, -0.5], atol=5e-3)


def test_a_polynomial_is_found_exactly():
    fit = minimax(lambda x: 3 * x**2 - x + 2, (-4.0, 7.0))
    np.testing.assert_allclose(fit.coefficients, [3, -1, 2], atol=1e-9)
    assert fit.largest_error < 1e-9


def test_the_error_of_a_relu_fit_alternates_in_sign():
    fit = minimax(relu, (-3.0, 3.0))
    x = np.linspace(-3, 3, 513)
    error = np.polyval(fit.coefficients, x) - relu(x)
    near = error[np.abs(error) > 0.97 * fit.largest_error]
    assert 1 + np.count_nonzero(np.diff(np.sign(near))) >= 4


def test_weights_move_the_error_to_where_nothing_lies():
    sample = np.random.default_rng(0).normal(-1.0, 0.5, 20000)
    interval = (-3.0, 5.0)
    weight = density(sample, interval)
    assert weight.max() == pytest.approx(1.0, abs=0.02)
    assert weight.min() == 0.01
    even, weighted = minimax(softplus, interval), minimax(softplus, interval, weight=weight)

    def typical(fit):
        return np.abs(np.polyval(fit.coefficients, sample) - softplus(sample)).mean()

    assert typical(weighted) < 0.5 * typical(even)
    assert weighted.largest_error > even.largest_error


def test_interval_leaves_out_the_tails():
    low, high = interval_of(np.arange(1001.0), 0.9)
    assert (low, high) == pytest.approx((50.0, 950.0))


@pytest.mark.parametrize("sample", [[], [1.0, np.nan], [2.0, 2.0, 2.0]])
def test_no_interval_without_values_that_differ(sample):
    with pytest.raises(ConversionError, match="interval"):
        interval_of(np.array(sample))
