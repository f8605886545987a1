import numpy as np
import pytest

from thex_hf.approximations.softmax import exact, fit_power, power_attention


def test_known_weights():
    scores, mask = np.array([[1.0, -1.0, 5.0]]), np.array([1.0, 1.0, 0.0])
    got = power_attention(scores, mask, 2, 2.0, 0.1)
    np.testing.assert_allclose(got, [[9 * 0.1 / 2, 1 * 0.1 / 2, 0]])
    np.testing.assert_allclose(
        power_attention(scores, mask, 4, 2.0, 0.1), [[81 * 0.1 / 2, 1 * 0.1 / 2, 0]]
    )


@pytest.mark.parametrize("power", [2, 4, 6])
def test_fit_finds_constants_that_made_the_scores(power):
    """Where softmax is a power exactly, the fit must find shift and scale."""
    rng = np.random.default_rng(0)
    shifted = rng.uniform(0.5, 1.5, (200, 12)) * power
    shifted *= (12 / (shifted**power).sum(-1, keepdims=True)) ** (1 / power)
    scores = np.log(shifted**power)
    shift, scale = fit_power(scores, np.ones(12), power)
    error = np.abs(power_attention(scores, np.ones(12), power, shift, scale) - exact(scores, 1.0))
    assert error.sum(-1).mean() / 2 < 0.06


@pytest.mark.parametrize("power", [2, 4, 6])
def test_fit_is_best_on_its_grid_and_ignores_masked_keys(power):
    rng = np.random.default_rng(1)
    scores, mask = rng.normal(size=(300, 10)), np.r_[np.ones(7), np.zeros(3)]
    shift, scale = fit_power(scores, mask, power)

    def error(c, r):
        return ((power_attention(scores, mask, power, c, r) - exact(scores, mask)) ** 2).sum()

    assert error(shift, scale) < min(error(shift, 1.05 * scale), error(shift, scale / 1.05))
    assert error(shift, scale) < min(error(shift + 0.3, scale), error(shift - 0.3, scale))
    scores[:, 7:] = 100.0
    assert fit_power(scores, mask, power) == (shift, scale)


def test_higher_powers_come_closer_to_softmax_when_rows_are_normalised():
    scores = np.random.default_rng(2).uniform(-3, 3, (400, 64))

    def distance(power, shift):
        weights = power_attention(scores, np.ones(64), power, shift, 1.0)
        weights /= weights.sum(-1, keepdims=True)
        return np.abs(weights - exact(scores, np.ones(64))).sum(-1).mean() / 2

    best = [min(distance(p, c) for c in np.linspace(1, 9, 33)) for p in (2, 4, 6)]
    assert best[0] > 1.5 * best[1] > 1.5 * best[2]
