import numpy as np
import pytest

from thex_hf.approximations.activation import gelu
from thex_hf.approximations.activation_registry import ACTIVATIONS, fit_activation
from thex_hf.approximations.registry import (
    SOURCES,
    describe,
    describe_activation,
    describe_attention,
    describe_norm,
)
from thex_hf.errors import OptionError


@pytest.fixture
def sample():
    return np.random.default_rng(0).normal(-0.5, 1.5, 20000)


def test_polynomial_activations_cost_one_level_and_state_their_source(sample):
    for name in ACTIVATIONS:
        entry = describe_activation(name, sample)
        assert (entry.degree, entry.levels, entry.replaces) == (2, 1, "gelu")
        assert entry.source == SOURCES[name]
        assert entry.interval[0] < -4 < 3 < entry.interval[1]
    client = describe_activation("relu", sample)
    assert (client.degree, client.levels) == (None, 0)
    assert client.error == pytest.approx(0.17, abs=0.01)


def test_errors_are_computed_from_the_sample(sample):
    near, far = (
        describe_activation("calibrated", sample),
        describe_activation("calibrated", 3 * sample),
    )
    assert far.error > 2 * near.error
    points = np.linspace(*near.interval, 513)
    fitted = np.polyval(fit_activation("calibrated", sample).coefficients, points)
    assert near.error == pytest.approx(np.abs(fitted - gelu(points)).max())


def test_calibrated_has_the_least_largest_error(sample):
    errors = {name: describe_activation(name, sample).error for name in ACTIVATIONS}
    assert min(errors, key=errors.__getitem__) == "calibrated"
    relu = fit_activation("calibrated", sample, "relu").coefficients
    assert relu != fit_activation("calibrated", sample, "gelu").coefficients


def test_powers_cost_one_level_a_doubling():
    entries = [describe_attention("power", power=p) for p in (2, 4, 6)]
    assert [entry.levels for entry in entries] == [1, 2, 3]
    assert [entry.degree for entry in entries] == [2, 4, 6]
    assert entries[0].error > entries[1].error > entries[2].error > 0.05
    scores = np.random.default_rng(1).normal(size=(50, 8))
    mask = np.r_[np.ones(5), np.zeros(3)]
    masked = describe_attention("power", scores, mask)
    short = describe_attention("power", scores[:, :5])
    assert masked.error == pytest.approx(short.error)
    assert masked.interval == short.interval
    assert describe_attention("estimate").degree is None


def test_norms():
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(500, 16)) + rng.normal(0, 2, (500, 1))  # the mean moves
    plain, centred = describe_norm("affine", inputs), describe_norm("centred", inputs)
    assert plain.levels == 0
    assert centred.levels == 1
    assert centred.error < 0.5 * plain.error


def test_a_norm_that_divides_errs_least_and_less_with_its_degree():
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(200, 16)) * rng.uniform(0.5, 2.0, (200, 1))  # the deviation moves
    entries = [describe_norm("chebyshev", inputs, degree) for degree in (1, 2, 4)]
    assert [entry.degree for entry in entries] == [1, 2, 4]
    assert [entry.levels for entry in entries] == [3, 4, 5]
    assert entries[0].error > entries[1].error > entries[2].error > 0
    assert entries[0].error < describe_norm("centred", inputs).error
    with pytest.raises(OptionError, match="degree should be at least 1"):
        describe("chebyshev", degree=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: describe("swish"),
        lambda: fit_activation("swish", np.arange(5.0)),
        lambda: describe_attention("swish"),
        lambda: describe_norm("swish"),
    ],
)
def test_unknown_names(call):
    with pytest.raises(OptionError, match="swish"):
        call()


def test_every_name_is_described_with_its_source():
    for name, source in SOURCES.items():
        entry = describe(name)
        assert (entry.name, entry.source) == (name, source)
        assert entry.interval[0] < 0 < entry.interval[1]
        assert 0 < entry.error < 1
    assert describe("power", power=6).levels == 3
