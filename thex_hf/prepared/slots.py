"""Instances of small matrix products side by side in the slots of a ciphertext.

With ``a`` slots an instance, ``B = N / a`` instances fit: slot ``row * N/2 + alpha * B/2 + beta``
is number ``alpha`` of instance ``row * B/2 + beta``. A rotation of the slots by ``B/2`` then turns
the numbers of every instance, so that a plaintext that is the same for all numbers of an instance
is a polynomial in ``X**a``.
"""

from __future__ import annotations

import numpy as np

from thex_hf.backends.numerics.modular import Words


def to_slots(values: Words) -> Words:
    """``(..., B, a)`` to ``(..., B * a)``."""
    *leading, batch, width = values.shape
    split = values.reshape(*leading, 2, batch // 2, width)
    return np.swapaxes(split, -1, -2).reshape(*leading, batch * width)


def from_slots(slots: Words, batch: int) -> Words:
    """The way back, for ``batch`` instances."""
    *leading, degree = slots.shape
    split = slots.reshape(*leading, 2, degree // batch, batch // 2)
    return np.swapaxes(split, -1, -2).reshape(*leading, batch, degree // batch)
