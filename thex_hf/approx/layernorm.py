"""The layer normalisation of THE-X: a learned affine map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def affine(values: Array, gamma: Array, beta: Array) -> Array:
    """Scale and shift each feature: ``gamma * x + beta``.

    Stands in for layer normalisation with neither mean nor variance
    (THE-X, Chen et al. 2022, section 3.2). It costs no level at all once
    ``gamma`` and ``beta`` are folded into the neighbouring matrices.

    Args:
        values: shape ``(..., d)``.
        gamma: shape ``(d,)``.
        beta: shape ``(d,)``.

    Returns:
        Array of shape ``(..., d)``.
    """
    return values * gamma + beta


def exact(values: Array, gamma: Array, beta: Array, epsilon: float = 1e-12) -> Array:
    """Apply ordinary layer normalisation over the last axis, for comparison.

    Args:
        values: shape ``(..., d)``.
        gamma: shape ``(d,)``.
        beta: shape ``(d,)``.
        epsilon: added to the variance.

    Returns:
        Array of shape ``(..., d)``.
    """
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return np.asarray(centred / deviation * gamma + beta)
