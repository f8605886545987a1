"""The polynomial activations by name: built in, or joined by the entry-point group :data:`GROUP`.

An activation is a way to fit the quadratic ``a x^2 + b x + c`` that a layer's training starts from.
The circuits know the coefficients only, so whatever gives a quadratic runs on all of them; anything
else is refused when it is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import numpy as np

from thex_hf.approximations.activation import (
    QUADRATIC,
    Array,
    Fit,
    Function,
    density,
    gelu,
    interval_of,
    minimax,
    quadratic,
    relu,
    softplus,
)
from thex_hf.errors import ConversionError, OptionError

GROUP = "thex_hf.activations"
COEFFICIENTS = 3


@dataclass(frozen=True)
class PolynomialActivation:
    """How a quadratic is fitted; an entry point of :data:`GROUP` names one of these.

    Args:
        source: where it is from, for reports.
        fit: from values before the activation, of any shape, and the function of the unconverted
            model to a polynomial with coefficients ``(a, b, c)``, ``a`` not zero.
    """

    source: str
    fit: Callable[[Array, Function], Fit]


def _fixed(sample: Array, original: Function) -> Fit:
    interval = interval_of(sample)
    points = np.linspace(*interval, 513)
    error = float(np.abs(quadratic(points) - original(points)).max())
    return Fit(QUADRATIC, interval, error, error)


def _softplus_minimax(sample: Array, original: Function) -> Fit:
    interval = interval_of(sample)
    return minimax(softplus, interval, weight=density(sample, interval))


def _calibrated(sample: Array, original: Function) -> Fit:
    return minimax(original, interval_of(sample))


BUILT_IN = {
    "quadratic": PolynomialActivation("Li et al. 2023 (MPCFormer), Quad", _fixed),
    "softplus-minimax": PolynomialActivation(
        "Elkhatib et al. 2025 (PRISM): weighted minimax fit of softplus", _softplus_minimax
    ),
    "calibrated": PolynomialActivation(
        "Lai et al. 2024 (HE inference for KANs): interval from the task's own values", _calibrated
    ),
}
ACTIVATIONS = tuple(BUILT_IN)
"""Names of the built-in polynomial activations."""


def _joined() -> dict[str, EntryPoint]:
    """Activations of other packages by name; built-in names win."""
    return {e.name: e for e in entry_points(group=GROUP) if e.name not in BUILT_IN}


def list_activations() -> tuple[str, ...]:
    """Names on offer: the built-in ones, then those of other packages, sorted. Loads nothing."""
    return (*ACTIVATIONS, *sorted(_joined()))


def find_activation(name: str) -> PolynomialActivation:
    """The polynomial activation called ``name``.

    Raises:
        OptionError: no such name, or what its package provides cannot be loaded or is none.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    joined = _joined()
    if name not in joined:
        names = ", ".join(list_activations())
        raise OptionError(f"activation should be one of {names}; got {name!r}.")
    entry = joined[name]
    try:
        activation = entry.load()
    except Exception as error:
        raise OptionError(
            f"activation {name!r} ({entry.value}) cannot be loaded: {error}; reinstall the package "
            f"that provides it"
        ) from error
    if not isinstance(activation, PolynomialActivation):
        raise OptionError(
            f"activation {name!r} ({entry.value}) should be a PolynomialActivation of "
            f"thex_hf.approximations.activation_registry; it is a {type(activation).__name__}"
        )
    return activation


def fit_activation(name: str, sample: Array, original: str = "gelu") -> Fit:
    """Fit a polynomial activation of degree two to where values really lie.

    Args:
        name: one of :func:`list_activations`. ``quadratic`` has fixed coefficients;
            ``softplus-minimax`` follows softplus, an error counting by how dense the sample is
            there; ``calibrated`` follows the original evenly on the sample's interval.
        sample: values before the activation, any shape.
        original: the function of the unconverted model, ``"gelu"`` or ``"relu"``.

    Returns:
        The fit; its errors are against the function that was fitted, ``quadratic``'s against
        the original.

    Raises:
        OptionError: unknown name, or one whose package does not provide it.
        ConversionError: the sample has no interval, or the activation is no quadratic.
    """
    activation = find_activation(name)
    fitted = activation.fit(sample, original_function(original))
    numbers = np.asarray(fitted.coefficients, np.float64)
    if numbers.shape != (COEFFICIENTS,) or not np.isfinite(numbers).all() or numbers[0] == 0:
        raise ConversionError(
            f"activation {name!r} gives the coefficients {fitted.coefficients}, but the circuits "
            f"run a x^2 + b x + c with a not zero: give three finite numbers, highest power first"
        )
    return fitted


def original_function(original: str) -> Function:
    """The activation of the unconverted model: ReLU for ``"relu"``, else GELU."""
    return relu if original == "relu" else gelu
