"""What stands for layer normalisation: a learned affine map, with or without the mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def exact(values: Array, gamma: Array, beta: Array, epsilon: float = 1e-12) -> Array:
    """Ordinary layer normalisation of ``(..., d)``; ``epsilon`` is added to the variance."""
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return np.asarray(centred / deviation * gamma + beta)
