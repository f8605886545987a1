"""The approximations on offer, by name, and what each costs and misses.

Figures are computed from samples of the values that meet the approximation, never stored:
pass those of your own model, or get those of standard normal values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thex_hf.approximations import layernorm, softmax
from thex_hf.approximations.activation import QUADRATIC, quadratic, relu
from thex_hf.approximations.fitting import (
    Array,
    Fit,
    density,
    gelu,
    interval_of,
    minimax,
    softplus,
)
from thex_hf.approximations.reciprocal import load_reciprocal
from thex_hf.approximations.softmax import fit_power, power_attention
from thex_hf.errors import OptionError

THE_X = "Chen et al. 2022 (THE-X), section 3.2"
SOURCES = {
    "relu": THE_X,
    "quadratic": "Li et al. 2023 (MPCFormer), Quad",
    "softplus-minimax": "Elkhatib et al. 2025 (PRISM): weighted minimax fit of softplus",
    "calibrated": "Lai et al. 2024 (HE inference for KANs): interval from the task's own values",
    "estimate": "Chen et al. 2022 (THE-X), equation 4",
    "power": "Powerformer (ACL 2025), BPMax; MPCFormer (2023), 2Quad; a constant normaliser",
    "affine": THE_X,
    "centred": "Powerformer (ACL 2025), BatchLN; the deviation is a constant inside gamma",
}
ACTIVATIONS = ("quadratic", "softplus-minimax", "calibrated")
"""Names of the polynomial activations; all of degree two."""


@dataclass(frozen=True)
class Approximation:
    """What stands for a non-linearity, and at what price.

    ``degree`` is that of the polynomial, None where the client helps out with a comparison.
    ``levels`` are the multiplications in a row that the server does, folded ones not counted.
    ``interval`` is where the values of the sample lie. ``error`` is measured on the sample:
    the largest absolute distance on the interval for activations, the mean total-variation
    distance of attention rows, the root-mean-square distance for norms.
    """

    name: str
    replaces: str
    degree: int | None
    levels: int
    interval: tuple[float, float]
    error: float
    source: str


def describe(name: str, sample: Array | None = None, power: int = 2) -> Approximation:
    """Measure the approximation of a name on values that meet it.

    Args:
        name: a key of :data:`SOURCES`.
        sample: activations of any shape, attention scores ``(..., q, k)`` without padded keys,
            or inputs of a norm ``(rows, d)``; standard normal values if None.
        power: exponent, for ``"power"`` only.

    Raises:
        OptionError: unknown name.
    """
    if name in ("estimate", "power"):
        return describe_attention(name, sample, power=power)
    if name in ("affine", "centred"):
        return describe_norm(name, sample)
    if name in ("relu", *ACTIVATIONS):
        return describe_activation(name, sample)
    raise OptionError(f"an approximation should be one of {', '.join(SOURCES)}; got {name!r}.")


def levels_of(degree: int | None) -> int:
    """Levels of a power: squarings and products in a row; none where the client computes it."""
    return 0 if degree is None else int(np.ceil(np.log2(degree)))


def fit_activation(name: str, sample: Array, original: str = "gelu") -> Fit:
    """Fit a polynomial activation of degree two to where values really lie.

    Args:
        name: one of :data:`ACTIVATIONS`. ``quadratic`` has fixed coefficients;
            ``softplus-minimax`` follows softplus, an error counting by how dense the sample is
            there; ``calibrated`` follows the original evenly on the sample's interval.
        sample: values before the activation, any shape.
        original: the function of the unconverted model, ``"gelu"`` or ``"relu"``.

    Returns:
        The fit; its errors are against the function that was fitted, ``quadratic``'s against
        the original.

    Raises:
        OptionError: unknown name.
        ConversionError: the sample has no interval.
    """
    if name not in ACTIVATIONS:
        raise OptionError(f"activation should be one of {', '.join(ACTIVATIONS)}; got {name!r}.")
    interval = interval_of(sample)
    follow = relu if original == "relu" else gelu
    if name == "softplus-minimax":
        return minimax(softplus, interval, weight=density(sample, interval))
    if name == "calibrated":
        return minimax(follow, interval)
    points = np.linspace(*interval, 513)
    error = float(np.abs(quadratic(points) - follow(points)).max())
    return Fit(QUADRATIC, interval, error, error)


def describe_activation(
    name: str, sample: Array | None = None, original: str = "gelu"
) -> Approximation:
    """Measure an activation against the original on the interval of a sample.

    Args:
        name: ``"relu"``, or one of :data:`ACTIVATIONS`.
        sample: values before the activation; standard normal ones if None.
        original: ``"gelu"`` or ``"relu"``.
    """
    sample = _normal(4096) if sample is None else sample
    follow, interval = relu if original == "relu" else gelu, interval_of(sample)
    points = np.linspace(*interval, 513)
    if name == "relu":
        values, degree = relu(points), None
    else:
        fitted = fit_activation(name, sample, original)
        values, degree = quadratic(points, fitted.coefficients), 2
    error = float(np.abs(values - follow(points)).max())
    return Approximation(name, original, degree, levels_of(degree), interval, error, SOURCES[name])


def describe_attention(
    name: str, scores: Array | None = None, mask: Array | None = None, power: int = 2
) -> Approximation:
    """Measure what stands for softmax by its distance from softmax.

    Args:
        name: ``"estimate"`` or ``"power"``, the latter with its best shift and scale.
        scores: shape ``(..., q, k)``; standard normal ones of 16 keys if None.
        mask: of the keys, broadcastable to ``scores``; all ones if None.
        power: exponent of ``"power"``.
    """
    scores = _normal(64, 16) if scores is None else scores
    mask = np.ones(scores.shape[-1]) if mask is None else mask
    if name == "power":
        weights = power_attention(scores, mask, power, *fit_power(scores, mask, power))
        degree: int | None = power
    elif name == "estimate":
        weights, degree = softmax.estimate(scores, mask, load_reciprocal()), None
    else:
        raise OptionError(f"attention should be 'estimate' or 'power'; got {name!r}.")
    error = float(np.abs(weights - softmax.exact(scores, mask)).sum(-1).mean() / 2)
    kept = scores[np.broadcast_to(mask, scores.shape) > 0]
    levels = levels_of(degree) if name == "power" else 3  # cube, and the product with T
    return Approximation(
        name, "softmax", degree, levels, interval_of(kept, 1.0), error, SOURCES[name]
    )


def describe_norm(name: str, sample: Array | None = None) -> Approximation:
    """Measure a norm's best fit to layer normalisation with unit scale.

    Args:
        name: ``"affine"`` or ``"centred"``.
        sample: inputs of the norm, shape ``(rows, d)``; standard normal ones if None.
    """
    sample = _normal(256, 64) if sample is None else sample
    kinds: dict[str, Callable[[Array, Array, Array], Array]] = {
        "affine": layernorm.affine,
        "centred": layernorm.centred_affine,
    }
    if name not in kinds:
        raise OptionError(f"norm should be one of {', '.join(kinds)}; got {name!r}.")
    ones, zeros = np.ones(sample.shape[-1]), np.zeros(sample.shape[-1])
    target = layernorm.exact(sample, ones, zeros)
    inputs = kinds[name](sample, ones, zeros)
    fitted = layernorm.affine(inputs, *layernorm.fit_affine(inputs, target))
    error = float(np.sqrt(((fitted - target) ** 2).mean()))
    levels = 0 if name == "affine" else 1  # a diagonal folds away, the mean is a matrix
    return Approximation(
        name, "layer norm", 1, levels, interval_of(sample, 1.0), error, SOURCES[name]
    )


def _normal(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)
