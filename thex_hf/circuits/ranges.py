"""How many bits hold the values that a calibration has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from thex_hf.bounds import SAFETY

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
