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

By how many bits it exceeds the circuit's own error (:func:`margin_bits`), an estimate. The error of
a logit is a sum of roundings and of key-switching errors of the whole way, all of the size of
``unit``, the error of one rescale in a slot: ``(N / 6) / scale`` (a coefficient rounds by
``sqrt((1 + 2N/3) / 12)``, and ``sqrt(N / 2)`` of these meet in a slot, see
:mod:`thex_hf.backends.numerics.noise`). Two of its parts count:

* The row that the logits are a quadratic form of has errors of some units. They reach the logit
  by its gradient, whose size at rows as they usually are is :func:`sensitivity`.
* The form ``A u + b`` is computed with errors of some units, which ``u`` multiplies.

What the client refreshes comes back exact to a unit of a coefficient, and adds nothing. The
factors are from measurements, models of one and two layers with all heads in all rings, rounded
up: the estimate is a quarter of a bit to five bits on the safe side, of the bundled model on
sentences a quarter to two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thex_hf.circuits.masks import RangeBits, uniform
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.polynomial.maps import ROW_SHRINK, FeedForward, Head, PolynomialLayers
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.ckks.engine import AnyVector, ComplexVector, Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError

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


ROW_UNITS = 2.0**9
FORM_UNITS = 2.0**4
USUAL_BITS = 4
"""Ranges are bounds: the usual feature of a row is smaller by about ``2**USUAL_BITS``."""


def flood_options(
    layers: PolynomialLayers,
    parameters: Parameters,
    bits: RangeBits,
    flood: str | None,
) -> dict[str, int]:
    """What a plan says of the noise on its answer: a strong flood is as small as will do."""
    row = max(bits.stream, default=0)
    for size in FLOOD_BITS if flood == "strong" else FLOOD_BITS[:1]:
        margin = margin_bits(layers, parameters, row, size)
        if margin >= STRONG_BITS:
            break
    return {"flood_bits": size, "waste_bits": waste_bits(parameters), "margin_bits": margin}


def strong_enough(
    plans: list[Plan], flood: str | None, best: int | None
) -> tuple[int | None, list[Plan]]:
    """The most margin so far, and those plans whose margin is what ``flood`` promises."""
    margins = [plan.options["margin_bits"] for plan in plans]
    most = max([*margins, -1 if best is None else best])
    needed = STRONG_BITS if flood == "strong" else 0
    kept = [plan for plan, margin in zip(plans, margins, strict=True) if margin >= needed]
    return (None if most < 0 else most), kept


def too_weak(options: PlanOptions, best: int) -> PlanError:
    """What is said when no ring carries a strong flood."""
    return PlanError(
        f"{options.protocol}: a strong flood exceeds the error of a logit by {STRONG_BITS} bits, "
        f"but no ring of {options.rings} gives more than {best}; use a larger ring, "
        f"protocol='one-shot', or flood='light'"
    )


def margin_bits(
    layers: PolynomialLayers,
    parameters: Parameters,
    row_bits: int,
    flood_bits: int,
) -> int:
    """Whole bits by which the flood's deviation exceeds that of a logit's error; at least 0.

    Args:
        layers: folded weights.
        parameters: of the circuit.
        row_bits: what the logits are computed from stays below ``2**row_bits``.
        flood_bits: the flood is uniform on ``[-2**-flood_bits, 2**-flood_bits)``.
    """
    unit = parameters.ring_degree / 6 / parameters.scale
    usual = 2.0 ** (row_bits - USUAL_BITS)
    units = math.hypot(
        ROW_UNITS * sensitivity(layers.head, usual), FORM_UNITS * _length(layers.head, usual)
    )
    flood = 2.0**-flood_bits / math.sqrt(3)
    return max(0, math.floor(math.log2(flood / (units * unit))))


def sensitivity(head: Head | FeedForward, usual: float) -> float:
    """How much a logit moves, by unit of every feature it is a form of, root mean square.

    Args:
        head: last FFN and classifier.
        usual: size of the features.
    """
    forms, lines, shrink = _quadratic(head)
    turned = forms + forms.transpose(0, 2, 1)  # the gradient of u.Au + b.u
    squares = (usual / shrink) ** 2 * (turned**2).sum(axis=(1, 2)) + (lines**2).sum(axis=1)
    return float(np.sqrt(squares.mean()))


def _length(head: Head | FeedForward, usual: float) -> float:
    """Of the row that meets the form, as it is carried; 0 where the logits come otherwise."""
    if isinstance(head, FeedForward):
        return 0.0
    return usual * math.sqrt(head.form.weight.shape[1]) / 2.0**ROW_SHRINK


def _quadratic(head: Head | FeedForward) -> tuple[Vector, Vector, float]:
    """Matrices and vectors of the logits' forms, and what the row is divided by in them."""
    if isinstance(head, Head):
        size = head.form.weight.shape[1]
        forms = head.form.weight.reshape(-1, size, size)
        return forms, head.form.bias.reshape(-1, size), 2.0**ROW_SHRINK
    up = np.vstack([head.up.weight.real, head.up.weight.imag])
    bias = np.append(head.up.bias.real, head.up.bias.imag)
    down = 8 * np.hstack([head.down.weight.real, -head.down.weight.imag])
    forms = np.einsum("km,mi,mj->kij", down, up, up)
    return forms, 2 * (down * bias) @ up + head.keep.weight.real, 1.0
