"""The softmax estimate of THE-X, and the exact softmax it stands for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from thex_hf.approx.activation import relu

Array = NDArray[np.float64]

ZERO_AT = -2.0
"""Score at and below which the estimate's weight is zero."""


def cubed_relu(scores: Array) -> Array:
    """Return ``ReLU((x / 2 + 1)^3)``, the estimate's stand-in for ``exp``.

    THE-X, Chen et al. 2022, equation 4. The server computes the cube; the client
    rectifies it. Scores at or below :data:`ZERO_AT` give exactly zero.

    Args:
        scores: attention scores already divided by the square root of the head
            size, any shape.

    Returns:
        Non-negative array of the same shape.
    """
    return relu((0.5 * scores + 1.0) ** 3)


def estimate(scores: Array, mask: Array, net: Callable[[Array], Array]) -> Array:
    """Estimate softmax without exponential or division.

    ``p_i = m_i c(x_i) T(sum_j m_j c(x_j))`` with ``c`` = :func:`cubed_relu` and ``T``
    the reciprocal network (THE-X, equation 4, with the cube in the numerator too;
    the printed numerator ``x_i`` would not be a probability). The mask is
    multiplied in, so a padded key has weight exactly zero.

    Args:
        scores: shape ``(..., q, k)``.
        mask: zeros and ones, shape ``(k,)`` or broadcastable to ``scores``.
        net: the reciprocal, mapping an array of sums to an array of that shape.

    Returns:
        Weights of shape ``(..., q, k)``; each row sums to about one.
    """
    weights = cubed_relu(scores) * mask
    return weights * net(weights.sum(axis=-1, keepdims=True))


def exact(scores: Array, mask: Array) -> Array:
    """Apply softmax over the last axis, counting only keys whose mask is one.

    Args:
        scores: shape ``(..., q, k)``.
        mask: zeros and ones, shape ``(k,)`` or broadcastable to ``scores``.

    Returns:
        Probabilities of shape ``(..., q, k)``; all zero where every key is masked.
    """
    kept = np.broadcast_to(mask, scores.shape) > 0
    top = np.max(np.where(kept, scores, -np.inf), axis=-1, keepdims=True)
    powers = np.where(kept, np.exp(np.where(kept, scores - top, 0.0)), 0.0)
    total = powers.sum(axis=-1, keepdims=True)
    return np.asarray(powers / np.where(total > 0, total, 1.0))
