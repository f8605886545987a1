"""The feed-forward activations, and low-degree polynomials that follow them where inputs lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thex_hf.errors import ConversionError

Array = NDArray[np.float64]
QUADRATIC = (0.125, 0.25, 0.5)
"""Coefficients ``(a, b, c)`` of MPCFormer's stand-in for GELU (Li et al., ICLR 2023)."""

Function = Callable[[Array], Array]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def relu(values: Array) -> Array:
    """Rectify: ``max(0, x)`` at each element, which takes the place of GELU.

    A comparison has no CKKS form, so the client evaluates it during a visit
    (THE-X, Chen et al. 2022, section 3.2 and Algorithm 2).
    """
    return np.maximum(values, 0.0)


def quadratic(values: Array, coefficients: ArrayLike = QUADRATIC) -> Array:
    """Evaluate ``a x^2 + b x + c`` at each element, which the server can do alone.

    One level: ``a (x + b / 2a)^2`` plus a constant, where scale and shift go into the matrix
    before and the constant into the bias behind.
    """
    a, b, c = np.asarray(coefficients, dtype=np.float64)
    return np.asarray((a * values + b) * values + c)


def gelu(values: Array) -> Array:
    """Return ``x Phi(x)`` with the normal distribution ``Phi``, as in BERT."""
    return np.asarray(0.5 * values * (1.0 + _erf(values / math.sqrt(2.0))))


def softplus(values: Array) -> Array:
    """Return ``log(1 + exp(x))``, the smooth relative of ReLU."""
    return np.logaddexp(0.0, values)


@dataclass(frozen=True)
class Fit:
    """A polynomial, highest power first, and how far it is from its function.

    ``largest_error`` is the largest absolute error on the interval; ``weighted_error`` the
    largest of error times weight, where the weight is at most one.
    """

    coefficients: tuple[float, ...]
    interval: tuple[float, float]
    largest_error: float
    weighted_error: float


def interval_of(sample: Array, share: float = 0.999) -> tuple[float, float]:
    """Return the interval that leaves out equal shares at both ends of a sample.

    Raises:
        ConversionError: the sample is empty, not finite, or a single value.
    """
    tail = 50.0 * (1.0 - share)
    if sample.size < 2 or not np.isfinite(sample).all():
        raise ConversionError(
            "an interval needs at least two finite values; got "
            f"{sample.size} values. Calibrate on more texts, or on a model that did not diverge."
        )
    low, high = (float(v) for v in np.percentile(sample, [tail, 100.0 - tail]))
    if not low < high:
        raise ConversionError(
            f"an interval needs values that differ; all are about {low}. Use more texts."
        )
    return low, high


def density(sample: Array, interval: tuple[float, float], points: int = 513) -> Array:
    """Estimate how dense a sample is at evenly spaced points of an interval.

    A histogram of 64 bins, read off linearly, scaled to a maximum of one and kept at or above
    0.01 so that no place counts for nothing.
    """
    counts, edges = np.histogram(sample, bins=64, range=interval)
    middles = (edges[:-1] + edges[1:]) / 2
    read = np.interp(np.linspace(*interval, points), middles, counts.astype(np.float64))
    return np.asarray(np.maximum(read / max(float(read.max()), 1.0), 0.01))


def minimax(
    function: Function,
    interval: tuple[float, float],
    degree: int = 2,
    weight: Array | None = None,
    steps: int = 400,
) -> Fit:
    """Fit the polynomial whose largest weighted error on an interval is least.

    Lawson's algorithm on Chebyshev polynomials of the interval, see :func:`lawson`.

    Args:
        function: what to follow.
        interval: where.
        degree: of the polynomial.
        weight: how much the error counts at evenly spaced points; one everywhere if None.
        steps: how many least-squares solutions.

    Returns:
        The best polynomial met, in powers of ``x``.
    """
    low, high = interval
    weight = np.ones(513) if weight is None else weight
    x = np.linspace(low, high, len(weight))
    basis = np.polynomial.chebyshev.chebvander((2 * x - low - high) / (high - low), degree)
    target = function(x)
    chosen, best = lawson(basis, target, weight, steps)
    series = np.polynomial.Chebyshev(chosen, domain=[low, high])
    powers = series.convert(kind=np.polynomial.Polynomial).coef
    padded = np.r_[powers, np.zeros(degree + 1 - len(powers))][::-1]
    plain = float(np.abs(np.polyval(padded, x) - target).max())
    return Fit(tuple(float(v) for v in padded), interval, plain, best)


def lawson(
    basis: Array | NDArray[np.floating[Any]], target: Array, weight: Array, steps: int = 400
) -> tuple[Array, float]:
    """Find the combination of functions whose largest weighted error is least.

    Lawson's algorithm: least squares, over and over, with each point's weight multiplied by its
    last error.

    Args:
        basis: the functions at some points, ``(points, functions)``.
        target: what to follow, ``(points,)``.
        weight: how much an error counts, ``(points,)``.
        steps: how many least-squares solutions.

    Returns:
        The best factors met, ``(functions,)``, and their largest weighted error.
    """
    shares = np.full(len(target), 1.0 / len(target))
    best, chosen = np.inf, np.zeros(basis.shape[1])
    for _ in range(steps):
        root = np.sqrt(shares) * weight
        solution = np.linalg.lstsq(basis * root[:, None], target * root, rcond=None)[0]
        error = np.abs(basis @ solution - target) * weight
        if error.max() < best:
            best, chosen = float(error.max()), solution
        shares = shares * error
        shares /= max(float(shares.sum()), 1e-300)
    return chosen, best
