"""The feed-forward activation of THE-X."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
