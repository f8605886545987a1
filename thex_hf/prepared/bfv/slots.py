"""Where independent instances lie in the slots of a ciphertext.

Slot ``row * N/2 + alpha * B/2 + beta`` holds number ``alpha`` of ``a`` of instance
``row * B/2 + beta`` of ``B = N/a``. So a plaintext that has the same value for every ``alpha`` is
a polynomial in ``x**a``: slots of row 0 are values at ``psi**(3**i)``, those of row 1 at
``psi**(-3**i)``, and the order of 3 modulo 2B is B/2 (for B of 4 and more).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import PlanError
from thex_hf.prepared.bfv.parameters import BfvParameters


def check_width(ring_degree: int, width: int) -> None:
    """Raises PlanError unless ``a`` is a power of two, at most N/4."""
    if not 1 <= width <= ring_degree // 4 or width & (width - 1):
        raise PlanError(
            f"an instance has 1 to {ring_degree // 4} slots, a power of two, not {width}"
        )


def to_slots(values: Words) -> Words:
    """Slots ``(..., N)`` of ``(..., B, a)`` numbers, ``a`` for each of B instances.

    Raises:
        PlanError: ``a`` is no power of two, or B below 4.
    """
    *leading, instances, width = values.shape
    check_width(instances * width, width)
    parts = values.reshape(*leading, 2, instances // 2, width)
    return np.ascontiguousarray(np.swapaxes(parts, -1, -2)).reshape(*leading, -1)


def from_slots(slots: Words, width: int) -> Words:
    """The reverse of :func:`to_slots`: ``(..., B, a)`` numbers, with ``a = width``."""
    *leading, degree = slots.shape
    check_width(degree, width)
    parts = slots.reshape(*leading, 2, width, degree // width // 2)
    return np.ascontiguousarray(np.swapaxes(parts, -1, -2)).reshape(*leading, -1, width)


def slot_words(size: int) -> NDArray[np.int64]:
    """For each slot of a ring of degree ``size`` (4 or more), its word of the transform."""
    bits = size.bit_length() - 1
    words = np.empty(size, np.int64)
    power = 1
    for i in range(size // 2):
        words[i] = _reversed((power - 1) // 2, bits)
        words[size // 2 + i] = _reversed((2 * size - power - 1) // 2, bits)
        power = power * 3 % (2 * size)
    return words


def _reversed(index: int, bits: int) -> int:
    return int(f"{index:0{bits}b}"[::-1], 2)


def check_slots(slots: Words, parameters: BfvParameters, verb: str) -> None:
    """Raises PlanError unless these are rows of N numbers of uint64 below t."""
    degree, plain = parameters.ring_degree, parameters.plain_modulus
    if slots.ndim != 2 or slots.shape[1] != degree or slots.dtype != np.uint64:
        raise PlanError(
            f"{verb} takes uint64 of shape (n, {degree}), got {slots.dtype} of {slots.shape}"
        )
    if slots.size and int(slots.max()) >= plain:
        raise PlanError(f"{verb} takes numbers below {plain}, got {int(slots.max())}")
