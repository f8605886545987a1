"""Additive masks for ``refresh`` parts, drawn from the operating system's randomness.

A value ``|v| <= 2**value_bits`` sent as ``v + r`` with ``r`` uniform on
``[-2**b, 2**b]``, ``b = value_bits + HIDING_BITS``, is within statistical distance
``2**-HIDING_BITS`` of one that does not depend on ``v``, for each slot. Every slot of the
ciphertext is masked, also those that hold nothing of use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from thex_hf.errors import PlanError
from thex_hf.layout.engines import Vector
from thex_hf.layout.layout import Layout
from thex_hf.layout.parameters import Parameters

HIDING_BITS = 30
HEADROOM_BITS = 2


def uniform(size: int, bound: float) -> Vector:
    """``size`` reals uniform on ``[-bound, bound)`` with 53 random bits each."""
    words = np.frombuffer(os.urandom(8 * size), dtype="<u8") >> np.uint64(11)
    return np.asarray(words * (2.0 * bound / 2.0**53) - bound)


@dataclass(frozen=True)
class Mask:
    """One mask: slot vectors as added, and the matrix they hold in the sending layout."""

    vectors: list[Vector]
    matrix: Vector


def draw(layout: Layout, value_bits: int) -> Mask:
    """A fresh mask for all ciphertexts of ``layout``."""
    bound = 2.0 ** (value_bits + HIDING_BITS)
    vectors = [uniform(layout.geometry.slots, bound) for _ in range(layout.ciphertexts)]
    return Mask(vectors, layout.unpack(vectors))


def check_room(parameters: Parameters, level: int, value_bits: int, name: str) -> None:
    """Refuse when a masked value would not fit the modulus at ``level``.

    Raises:
        PlanError: naming the visit, the bits needed and the bits there are.
    """
    needed = value_bits + HIDING_BITS + parameters.scale_bits + HEADROOM_BITS
    there = parameters.modulus_bits(level)
    if needed > there:
        raise PlanError(
            f"{name}: a masked value needs {needed} bits (value {value_bits} + hiding "
            f"{HIDING_BITS} + scale {parameters.scale_bits} + headroom {HEADROOM_BITS}) but the "
            f"modulus at level {level} has {there}; use a smaller scale or a larger ring"
        )
