"""What stands for softmax: THE-X's estimate with its reciprocal network, a power, the exact one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from thex_hf.approximations.activation import relu
from thex_hf.errors import ConversionError

Array = NDArray[np.float64]
ZERO_AT = -2.0
"""Score at and below which the estimate's weight is zero."""

WEIGHTS_PATH = Path(__file__).with_name("reciprocal.safetensors")
HIDDEN = 16
"""Width h of both hidden layers of the shipped network."""

KEY_COUNTS = (1, 128)
"""Shortest and longest row of attention scores the shipped network was made for."""

SUM_RANGE = (0.5, 2048.0)
"""Sums between which the shipped network is a reciprocal; it is flat outside."""

MAX_RELATIVE_ERROR = 0.01
"""Bound on ``|s T(s) - 1|`` over ``SUM_RANGE``; ``training/reciprocal.json`` has the figures."""


def cubed_relu(scores: Array) -> Array:
    """Return ``ReLU((x / 2 + 1)^3)`` of each score, the estimate's stand-in for ``exp``.

    THE-X, Chen et al. 2022, equation 4. The server computes the cube; the client rectifies it.
    Scores, divided by the square root of the head size before, at or below :data:`ZERO_AT` give
    exactly zero.
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
    sums; rows count alike, whatever their length. All sums are of moments of the scores, so the
    scores are read once.

    Args:
        scores: one head's scores on sample texts, shape ``(..., q, k)``.
        mask: zeros and ones of the keys, broadcastable to ``scores``; rows of padded queries
            should be left out by the caller.
        power: 2, 4 or 6.

    Returns:
        Shift and scale.
    """
    target = exact(scores, mask)
    kept = np.broadcast_to(mask / np.sum(mask, axis=-1, keepdims=True), scores.shape)
    cross, square = _moments(kept * target, scores, power), _moments(kept**2, scores, 2 * power)
    total = float((target**2).sum())
    best = (np.inf, float(power), 1.0)
    for shift in np.linspace(0.25 * power, 4.0 * power, 61):
        product = float(_binomial(shift, power) @ cross)
        size = max(float(_binomial(shift, 2 * power) @ square), 1e-300)
        scale = product / size
        error = total - 2 * scale * product + scale**2 * size
        best = min(best, (error, float(shift), scale))
    return best[1], best[2]


def _moments(weights: Array, scores: Array, highest: int) -> Array:
    """Sums of ``weights * scores^j`` for ``j`` from 0 to ``highest``."""
    sums = [weights.sum()]
    for _ in range(highest):
        weights = weights * scores
        sums.append(weights.sum())
    return np.array(sums)


def _binomial(shift: float, power: int) -> Array:
    """Factors of ``s^0 ... s^power`` in ``(s + shift)^power``."""
    return np.array([math.comb(power, j) * shift ** (power - j) for j in range(power + 1)])


@dataclass(frozen=True)
class ReciprocalNet:
    """``T(s) = w3 . relu(W2 relu(w1 s + b1) + b2) + b3``, close to ``1 / s``.

    THE-X, Chen et al. 2022, section 3.3: a small network learns the reciprocal.
    The two ReLUs are needed (three linear maps in a row would be one affine map)
    and run on the client like all others.
    """

    w1: Array  # (h,)
    b1: Array  # (h,)
    w2: Array  # (h, h), rows are outputs
    b2: Array  # (h,)
    w3: Array  # (h,)
    b3: float

    def __post_init__(self) -> None:
        """Check that the shapes agree."""
        hidden = self.w1.shape[0]
        wanted = {"w1": (hidden,), "b1": (hidden,), "w2": (hidden, hidden)}
        wanted |= {"b2": (hidden,), "w3": (hidden,)}
        for name, shape in wanted.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ConversionError(
                    f"reciprocal network: {name} should have shape {shape}, has {got}. "
                    "Load the shipped one with load_reciprocal()."
                )

    def __call__(self, sums: Array) -> Array:
        """Evaluate ``T`` at each element.

        Args:
            sums: any shape; meant to lie in :data:`SUM_RANGE`.

        Returns:
            Array of the same shape.
        """
        first = relu(np.asarray(sums, dtype=np.float64)[..., None] * self.w1 + self.b1)
        second = relu(first @ self.w2.T + self.b2)
        return np.asarray(second @ self.w3 + self.b3)

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name these weights."""
        digest = hashlib.sha256()
        for field in fields(self):
            digest.update(np.asarray(getattr(self, field.name), dtype="<f8").tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the weights as float64 safetensors."""
        arrays = {f.name: np.atleast_1d(getattr(self, f.name)) for f in fields(self)}
        save_file({k: np.ascontiguousarray(v, dtype=np.float64) for k, v in arrays.items()}, path)


@cache
def load_reciprocal(path: Path = WEIGHTS_PATH) -> ReciprocalNet:
    """Load the shipped reciprocal network, or one saved in the same form.

    Args:
        path: a safetensors file with ``w1 b1 w2 b2 w3 b3``.

    Raises:
        ConversionError: the file is missing, or lacks one of the arrays.
    """
    if not path.is_file():
        raise ConversionError(
            f"the reciprocal network should be at {path.name!r} in the package and is not "
            "there: reinstall thex_hf, or run training/train_reciprocal.py."
        )
    arrays = load_file(path)
    names = [field.name for field in fields(ReciprocalNet)]
    missing = sorted(set(names) - set(arrays))
    if missing:
        raise ConversionError(f"{path.name} should hold {names}; {missing} are missing.")
    doubles = {name: arrays[name].astype(np.float64) for name in names}
    return ReciprocalNet(**{**doubles, "b3": float(doubles["b3"].reshape(-1)[0])})
