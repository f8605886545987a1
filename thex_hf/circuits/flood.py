"""Noise on the answer of the private protocols: what it is worth, where, and how much fits.

An answer has thousands of numbers, two parts in each slot, and a handful of logits. Each logit
is read from one slot's real part. There the flood must stay small, and is uniform on
``[-2**-logit_bits, 2**-logit_bits)``. Everything else (other slots, further copies of a logit, all
imaginary parts) carries only the circuit's errors, or what a client that sent other numbers than
a text's made of it: there the flood is as large as level 0 carries, ``2**waste_bits``.

What fits. A coefficient of the flood's polynomial is a sum of ``N`` independent numbers, the
parts ``u`` of ``N / 2`` slots, with factors ``(2 / N) cos`` and ``(2 / N) sin`` of one angle for
each slot. The squares of all factors add up to ``2 / N``. A number uniform on ``[-B, B)`` is
strictly sub-Gaussian, so the coefficient is too, with deviation ``B sqrt(2 / (3 N))``, and goes
beyond :data:`DEVIATIONS` of these with probability at most ``2 exp(-DEVIATIONS**2 / 2)``: 2^-103
for one coefficient, below 2^-87 for all of a ciphertext. The logits beside it lie in at most
half of the slots and are below ``2**(LOGIT_BITS - 1)`` there, so they add at most half of that
to a coefficient; errors and the flood on the logits are nothing beside the rounding down here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thex_hf.circuits.masks import uniform
from thex_hf.ckks.engine import AnyVector, ComplexVector
from thex_hf.ckks.parameters import Parameters

LOGIT_BITS = 8
"""Logits, and the products they are sums of, stay below ``2**(LOGIT_BITS - 1)``."""
FLOOD_BITS = (8, 7, 6, 5, 4)
"""Logits leave with uniform noise of at most ``2**-b``: the first of these, or, where the flood is
to be strong, the first that exceeds the estimated error by :data:`STRONG_BITS` bits."""
STRONG_BITS = 20
DEVIATIONS = 12


class Answer(Protocol):
    """What is asked of an answer's layout."""

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts in all."""
        ...

    def reads(self) -> NDArray[np.bool_]:
        """Shape ``(ciphertexts, slots)``: where ``unpack`` reads a result, each in one slot."""
        ...


def waste_bits(parameters: Parameters) -> int:
    """The largest whole ``b`` such that noise of ``2**b`` beside logits fits level 0."""
    free = parameters.room - 2.0 ** (LOGIT_BITS - 2)
    most = free / (DEVIATIONS * math.sqrt(2 / (3 * parameters.ring_degree)))
    return math.floor(math.log2(most))


@dataclass(frozen=True)
class Flood:
    """Sizes of the noise: ``2**-logit_bits`` on a logit, ``2**waste_bits`` on all else."""

    logit_bits: int
    waste_bits: int

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Flood:
        """What a plan's options say."""
        return cls(options["flood_bits"], options["waste_bits"])

    def draw(self, answer: Answer) -> list[ComplexVector]:
        """Fresh noise for each ciphertext of ``answer``."""
        small, large = 2.0**-self.logit_bits, 2.0**self.waste_bits
        return [_noise(reads, small, large) for reads in answer.reads()]


NO_FLOOD = Flood(1100, -1100)
"""For circuits on counting engines, and to look at an answer before its flood."""


def _noise(reads: NDArray[np.bool_], small: float, large: float) -> ComplexVector:
    slots = reads.size
    real = np.where(reads, uniform(slots, small), uniform(slots, large))
    noise: AnyVector = real + 1j * uniform(slots, large)
    return noise.astype(np.complex128)
