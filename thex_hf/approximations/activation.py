"""The feed-forward activations: THE-X's ReLU, and a quadratic."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

QUADRATIC = (0.125, 0.25, 0.5)
"""Coefficients ``(a, b, c)`` of MPCFormer's stand-in for GELU (Li et al., ICLR 2023)."""


def relu(values: Array) -> Array:
    """Rectify: ``max(0, x)``, which takes the place of GELU.

    A comparison has no CKKS form, so the client evaluates it during a visit
    (THE-X, Chen et al. 2022, section 3.2 and Algorithm 2).

    Args:
        values: any shape.

    Returns:
        Array of the same shape.
    """
    return np.maximum(values, 0.0)


def quadratic(values: Array, coefficients: ArrayLike = QUADRATIC) -> Array:
    """Evaluate ``a x^2 + b x + c``, which the server can do alone.

    One level: ``a (x + b / 2a)^2`` plus a constant, where scale and shift go into the matrix
    before and the constant into the bias behind.

    Args:
        values: any shape.
        coefficients: ``(a, b, c)``.

    Returns:
        Array of the same shape.
    """
    a, b, c = np.asarray(coefficients, dtype=np.float64)
    return np.asarray((a * values + b) * values + c)
