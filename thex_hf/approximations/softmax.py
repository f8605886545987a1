"""What stands for softmax: the estimate of THE-X, power attention, and the exact softmax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from thex_hf.approximations.activation import relu

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


def power_attention(scores: Array, mask: Array, power: int, shift: float, scale: float) -> Array:
    """Return ``(s + shift)^power * scale * m / n``, with ``n`` the number of true keys.

    After BPMax of Powerformer (ACL 2025) and MPCFormer's 2Quad (ICLR 2023), whose running
    maximum or row sum is a learned constant here. Polynomial in the scores: nothing is
    compared, nothing encrypted is divided by. Even powers cannot go negative. Rows sum to one
    only roughly.

    Args:
        scores: shape ``(..., q, k)``, divided by the square root of the head size already.
        mask: zeros and ones, shape ``(k,)`` or broadcastable to ``scores``.
        power: 2, 4 or 6: one, two or three levels.
        shift: ``c``, added to the scores.
        scale: ``1 / R``.

    Returns:
        Weights of the shape of ``scores``; exactly zero at padded keys.
    """
    keys = np.sum(mask, axis=-1, keepdims=True)
    return np.asarray((scores + shift) ** power * (scale * mask / keys))


def fit_power(scores: Array, mask: Array, power: int) -> tuple[float, float]:
    """Find the shift and scale with the least squared distance from softmax.

    For each shift on a grid from ``power / 4`` to ``4 * power`` the best scale is a ratio of two
    sums; rows count alike, whatever their length.

    Args:
        scores: one head's scores on sample texts, shape ``(..., q, k)``.
        mask: zeros and ones of the keys, broadcastable to ``scores``; rows of padded queries
            should be left out by the caller.
        power: 2, 4 or 6.

    Returns:
        Shift and scale.
    """
    target = exact(scores, mask)
    best = (np.inf, float(power), 1.0)
    for shift in np.linspace(0.25 * power, 4.0 * power, 61):
        shape = power_attention(scores, mask, power, float(shift), 1.0)
        scale = float((shape * target).sum() / max(float((shape**2).sum()), 1e-300))
        error = float(((scale * shape - target) ** 2).sum())
        best = min(best, (error, float(shift), scale))
    return best[1], best[2]
