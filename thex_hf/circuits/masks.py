"""How many bits hold the values that a calibration has seen, and additive masks over such values.

Masks are for ``refresh`` parts, drawn from the operating system's randomness. Those of ``renew``
parts are the engine's own (:meth:`ServerEngine.blind`): uniform modulo the whole modulus. Those
here are for ``client-aided``, whose client sees numbers of the same text without a mask anyway.

A value ``|v| <= 2**value_bits`` is sent as ``v + coarse + fine``. ``coarse`` is uniform on
``[-2**c, 2**c)``, ``c = value_bits + HIDING_BITS``: shifting it by ``v`` changes its
distribution by at most ``2**-HIDING_BITS``. But float64 gives it a grid of ``2**(c - 52)``,
on which the low bits of ``v`` would show; ``fine``, uniform on ``HIDING_BITS`` bits more than
that grid, hides them (and the rounding of the encoding) to the same degree. Both hold for
each slot, and every slot of the ciphertext is masked, also those that hold nothing of use.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from thex_hf.bounds import SAFETY
from thex_hf.ckks.engine import Vector
from thex_hf.ckks.packing.layout import Layout
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError

HIDING_BITS = 30
HEADROOM_BITS = 2
SPARE_BITS = 32
"""So much the first prime exceeds what the client refreshes: see ``Plan.wrap_probability``."""

FLOAT_BITS = 53
UNCALIBRATED = 64.0
"""The largest value that is assumed where none was measured."""


@dataclass(frozen=True)
class RangeBits:
    """For each layer, ``b`` such that values stay within ``2**b``."""

    value: tuple[int, ...]  # value projection, masked
    stream: tuple[int, ...]  # stream that enters the layer, masked (not entry 0)
    shown: tuple[int, ...] = ()  # scores and FFN pre-activations, sent at level 0


def bits_of(largest: float) -> int:
    """Bits that hold twice the largest value seen."""
    return max(0, math.ceil(math.log2(max(largest, 1e-9) * SAFETY)))


def uniform(size: int, bound: float) -> Vector:
    """``size`` reals uniform on ``[-bound, bound)`` with 53 random bits each."""
    words = np.frombuffer(os.urandom(8 * size), dtype="<u8") >> np.uint64(64 - FLOAT_BITS)
    return np.asarray(words * (2.0 * bound / 2.0**FLOAT_BITS) - bound)


@dataclass(frozen=True)
class Mask:
    """One mask: slot vectors of both parts, and the matrix of their sum in the layout."""

    coarse: list[Vector]
    fine: list[Vector]
    matrix: Vector


def draw(layout: Layout, value_bits: int) -> Mask:
    """A fresh mask for all ciphertexts of ``layout``."""
    coarse_bits = value_bits + HIDING_BITS
    fine_bits = coarse_bits - FLOAT_BITS + 1 + HIDING_BITS
    coarse, fine = (
        [uniform(layout.geometry.slots, 2.0**bits) for _ in range(layout.ciphertexts)]
        for bits in (coarse_bits, fine_bits)
    )
    return Mask(coarse, fine, layout.unpack([a + b for a, b in zip(coarse, fine, strict=True)]))


def check_room(parameters: Parameters, level: int, value_bits: int, name: str) -> None:
    """Refuse when a masked value would not fit the modulus at ``level``.

    Raises:
        PlanError: naming the round trip, the bits needed and the bits there are.
    """
    needed = value_bits + HIDING_BITS + parameters.scale_bits + HEADROOM_BITS
    there = parameters.modulus_bits(level)
    if needed > there:
        raise PlanError(
            f"{name}: a masked value needs {needed} bits (value {value_bits} + hiding "
            f"{HIDING_BITS} + scale {parameters.scale_bits} + headroom {HEADROOM_BITS}) but the "
            f"modulus at level {level} has {there}; use a smaller scale or a larger ring"
        )
