"""Power attention: an even power with a constant normaliser in the place of softmax."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thex_hf.approx.softmax import exact

Array = NDArray[np.float64]


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
