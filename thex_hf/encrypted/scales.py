"""The scales of the affine norms, which the circuit of the THE-X form divides by."""

from __future__ import annotations

import numpy as np

from thex_hf.errors import PlanError
from thex_hf.weights import LayerWeights

SMALLEST_SCALE = 1e-3


def smallest_scale(layer: LayerWeights, index: int) -> float:
    """The smallest magnitude in the scale of the affine norm after attention.

    Raises:
        PlanError: it is too near zero to divide by.
    """
    found = float(np.abs(layer.attention_scale).min())
    if found < SMALLEST_SCALE:
        raise PlanError(
            f"layer {index}: the affine norm after attention has a scale of {found:.1e}, at least "
            f"{SMALLEST_SCALE} is needed to fold it; convert the model again (thex-hf convert "
            f"keeps scales away from zero)"
        )
    return found
