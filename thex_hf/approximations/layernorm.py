"""What stands for layer normalisation: affine maps, and a polynomial of the variance."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thex_hf.approximations.activation import lawson

Array = NDArray[np.float64]


def affine(values: Array, gamma: Array, beta: Array) -> Array:
    """Scale and shift each feature of ``(..., d)``: ``gamma * x + beta``, both ``(d,)``.

    Stands in for layer normalisation with neither mean nor variance (THE-X, Chen et al. 2022,
    section 3.2). It costs no level at all once ``gamma`` and ``beta`` are folded into the
    neighbouring matrices.
    """
    return values * gamma + beta


def centred_affine(values: Array, gamma: Array, beta: Array) -> Array:
    """Subtract the mean over features, then as :func:`affine`: ``gamma * (x - mean(x)) + beta``.

    Keeps the linear half of layer normalisation and drops the division by the deviation
    (after Powerformer's BatchLN, ACL 2025, with its constant inside ``gamma``).
    """
    return affine(values - values.mean(axis=-1, keepdims=True), gamma, beta)


def fit_affine(inputs: Array, targets: Array) -> tuple[Array, Array]:
    """Fit the line from each feature of ``inputs`` to that of ``targets``, least squares.

    Both are ``(rows, d)``; slopes and offsets, each ``(d,)``, are returned.
    """
    x, y = inputs - inputs.mean(axis=0), targets - targets.mean(axis=0)
    gamma = (x * y).sum(axis=0) / np.maximum((x * x).sum(axis=0), 1e-12)
    return gamma, np.asarray(targets.mean(axis=0) - gamma * inputs.mean(axis=0))


@lru_cache(maxsize=256)
def inverse_root(low: float, high: float, degree: int) -> tuple[Array, float]:
    """Fit the polynomial of a degree with the least largest relative error from ``1 / sqrt(v)``.

    Args:
        low: least variance ``v``.
        high: largest.
        degree: of the polynomial.

    Returns:
        Coefficients ``(degree + 1,)`` of Chebyshev polynomials of ``u``, which goes from -1 to 1 on
        the interval, read-only since they are kept for the next call, and the error.
    """
    variances = np.geomspace(low, high, 801)
    basis = np.polynomial.chebyshev.chebvander((2 * variances - low - high) / (high - low), degree)
    coefficients, error = lawson(basis, variances**-0.5, np.sqrt(variances))
    coefficients.flags.writeable = False
    return coefficients, error


def chebyshev_root(variances: Array, coefficients: Array, interval: Array) -> Array:
    """Evaluate what stands for ``1 / sqrt(v)``: ``sum_k coefficients_k T_k(u)``, see above."""
    low, high = interval
    u = (2 * variances - low - high) / (high - low)
    return np.asarray(np.polynomial.chebyshev.chebval(u, coefficients))


def chebyshev(
    values: Array, gamma: Array, beta: Array, coefficients: Array, interval: Array
) -> Array:
    """Layer normalisation of ``(..., d)`` with a polynomial in the place of ``1 / sqrt``.

    ``gamma * (x - mean(x)) * P(variance(x)) + beta``; ``P`` is :func:`chebyshev_root`. As shared
    numbers it takes a round trip for the variance, one for each doubling of the degree, and one for
    the product.
    """
    centred = values - values.mean(axis=-1, keepdims=True)
    variances = (centred**2).mean(axis=-1, keepdims=True)
    return affine(centred * chebyshev_root(variances, coefficients, interval), gamma, beta)


def exact(values: Array, gamma: Array, beta: Array, epsilon: float = 1e-12) -> Array:
    """Ordinary layer normalisation of ``(..., d)``; ``epsilon`` is added to the variance."""
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return np.asarray(centred / deviation * gamma + beta)
