"""The approximations on offer, by name, and what each costs and misses.

Figures are computed from samples of the values that meet the approximation, never stored:
pass those of your own model, or get those of standard normal values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thex_hf.approximations import layernorm, softmax
from thex_hf.approximations.activation import Array, interval_of, quadratic, relu
from thex_hf.approximations.activation_registry import (
    BUILT_IN,
    find_activation,
    fit_activation,
    list_activations,
    original_function,
)
from thex_hf.approximations.softmax import fit_power, load_reciprocal, power_attention
from thex_hf.errors import OptionError

THE_X = "Chen et al. 2022 (THE-X), section 3.2"
SOURCES = {
    "relu": THE_X,
    **{name: activation.source for name, activation in BUILT_IN.items()},
    "estimate": "Chen et al. 2022 (THE-X), equation 4",
    "power": "Powerformer (ACL 2025), BPMax; MPCFormer (2023), 2Quad; a constant normaliser",
    "affine": THE_X,
    "centred": "Powerformer (ACL 2025), BatchLN; the deviation is a constant inside gamma",
    "chebyshev": "Lawson (1961): the polynomial of least relative error from 1 / sqrt(variance)",
}


@dataclass(frozen=True)
class Approximation:
    """What stands for a non-linearity, and at what price.

    ``degree`` is that of the polynomial (for ``chebyshev`` in the variance), None where the client
    helps out with a comparison.
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


def describe(
    name: str, sample: Array | None = None, power: int = 2, degree: int = 4
) -> Approximation:
    """Measure the approximation of a name on values that meet it.

    Args:
        name: a key of :data:`SOURCES`, or an activation of another package.
        sample: activations of any shape, attention scores ``(..., q, k)`` without padded keys,
            or inputs of a norm ``(rows, d)``; standard normal values if None.
        power: exponent, for ``"power"`` only.
        degree: of the polynomial of the variance, for ``"chebyshev"`` only.

    Raises:
        OptionError: unknown name.
    """
    if name in ("estimate", "power"):
        return describe_attention(name, sample, power=power)
    if name in ("affine", "centred", "chebyshev"):
        return describe_norm(name, sample, degree)
    if name in ("relu", *list_activations()):
        return describe_activation(name, sample)
    raise OptionError(f"an approximation should be one of {', '.join(SOURCES)}; got {name!r}.")


def levels_of(degree: int | None) -> int:
    """Levels of a power: squarings and products in a row; none where the client computes it."""
    return 0 if degree is None else int(np.ceil(np.log2(degree)))


def describe_activation(
    name: str, sample: Array | None = None, original: str = "gelu"
) -> Approximation:
    """Measure an activation against the original on the interval of a sample.

    Args:
        name: ``"relu"``, or one of :func:`.activation_registry.list_activations`.
        sample: values before the activation; standard normal ones if None.
        original: ``"gelu"`` or ``"relu"``.
    """
    sample = _normal(4096) if sample is None else sample
    follow, interval = original_function(original), interval_of(sample)
    points = np.linspace(*interval, 513)
    if name == "relu":
        values, degree, source = relu(points), None, THE_X
    else:
        fitted = fit_activation(name, sample, original)
        values, degree = quadratic(points, fitted.coefficients), 2
        source = find_activation(name).source
    error = float(np.abs(values - follow(points)).max())
    return Approximation(name, original, degree, levels_of(degree), interval, error, source)


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


def describe_norm(name: str, sample: Array | None = None, degree: int = 4) -> Approximation:
    """Measure a norm's best fit to layer normalisation with unit scale.

    Args:
        name: ``"affine"``, ``"centred"`` or ``"chebyshev"``, whose interval is that of the sample's
            variances.
        sample: inputs of the norm, shape ``(rows, d)``; standard normal ones if None.
        degree: of the polynomial of ``"chebyshev"``.

    Raises:
        OptionError: unknown name, or a degree below 1.
    """
    sample = _normal(256, 64) if sample is None else sample

    if degree < 1:
        raise OptionError(f"degree should be at least 1, where a norm divides at all; got {degree}")

    def chebyshev(values: Array, gamma: Array, beta: Array) -> Array:
        variances = values.var(axis=-1)
        interval = variances.min(), max(variances.max(), 1.001 * variances.min())
        fitted, _ = layernorm.inverse_root(*map(float, interval), degree)
        return layernorm.chebyshev(values, gamma, beta, fitted, np.array(interval))

    kinds: dict[str, Callable[[Array, Array, Array], Array]] = {
        "affine": layernorm.affine,
        "centred": layernorm.centred_affine,
        "chebyshev": chebyshev,
    }
    if name not in kinds:
        raise OptionError(f"norm should be one of {', '.join(kinds)}; got {name!r}.")
    ones, zeros = np.ones(sample.shape[-1]), np.zeros(sample.shape[-1])
    target = layernorm.exact(sample, ones, zeros)
    inputs = kinds[name](sample, ones, zeros)
    fitted = layernorm.affine(inputs, *layernorm.fit_affine(inputs, target))
    error = float(np.sqrt(((fitted - target) ** 2).mean()))
    # a diagonal folds away, the mean is a matrix; variance, polynomial and product are in a row
    levels = {"affine": 0, "centred": 1, "chebyshev": 3 + levels_of(degree)}[name]
    return Approximation(
        name,
        "layer norm",
        degree if name == "chebyshev" else 1,
        levels,
        interval_of(sample, 1.0),
        error,
        SOURCES[name],
    )


def _normal(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)
