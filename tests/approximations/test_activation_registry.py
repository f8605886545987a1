from importlib.metadata import EntryPoint

import numpy as np
import pytest

from thex_hf.approximations import activation_registry
from thex_hf.approximations.activation import Fit, minimax
from thex_hf.approximations.activation_registry import (
    ACTIVATIONS,
    GROUP,
    PolynomialActivation,
    find_activation,
    fit_activation,
    list_activations,
)
from thex_hf.approximations.registry import describe
from thex_hf.conversion.options import PolynomialOptions
from thex_hf.errors import ConversionError, OptionError

SAMPLE = np.linspace(-3, 3, 100)
OURS = PolynomialActivation("ours", lambda sample, original: minimax(original, (-1.0, 1.0)))


def gives(*coefficients):
    return PolynomialActivation("x", lambda s, f: Fit(coefficients, (-1.0, 1.0), 0.0, 0.0))


CUBIC, LINE, INFINITE = gives(1.0, 0.0, 0.0, 0.0), gives(0.0, 1.0, 0.0), gives(np.inf, 1.0, 0.0)
NONE = "no activation"


@pytest.fixture
def joined(monkeypatch):
    """Other packages' activations, by the names of this module's."""

    def join(**targets):
        entries = [EntryPoint(name, target, GROUP) for name, target in targets.items()]
        monkeypatch.setattr(activation_registry, "entry_points", lambda group: entries)

    return join


def test_an_activation_of_another_package_joins(joined):
    joined(ours=f"{__name__}:OURS", quadratic=f"{__name__}:OURS")
    assert list_activations() == (*ACTIVATIONS, "ours")
    assert find_activation("ours") is OURS
    assert find_activation("quadratic") is not OURS  # built-in names win
    assert fit_activation("ours", SAMPLE, "relu").interval == (-1.0, 1.0)
    entry = describe("ours", SAMPLE)
    assert (entry.source, entry.degree, entry.levels) == ("ours", 2, 1)
    assert PolynomialOptions(activation="ours").activation == "ours"


@pytest.mark.parametrize("name", ["CUBIC", "LINE", "INFINITE"])
def test_what_the_circuits_cannot_run_is_refused(joined, name):
    joined(wrong=f"{__name__}:{name}")
    with pytest.raises(ConversionError, match=r"'wrong' gives .* the circuits run a x\^2"):
        fit_activation("wrong", SAMPLE)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module_here:A", "no_such_module_here.*reinstall"),
        (f"{__name__}:NONE", "should be a PolynomialActivation.*it is a str"),
    ],
)
def test_a_broken_package_is_named_only_when_asked_for(joined, target, message):
    joined(broken=target)
    assert "broken" in list_activations()
    with pytest.raises(OptionError, match=message):
        find_activation("broken")


def test_unknown_names_are_refused(joined):
    joined()
    with pytest.raises(OptionError, match="one of quadratic, softplus-minimax, calibrated; got"):
        fit_activation("swish", SAMPLE)
    with pytest.raises(OptionError, match="in polynomial form; got 'swish'"):
        PolynomialOptions(activation="swish")
