"""Plaintexts that have one value for each instance, as words of SEAL's transform.

Such a plaintext is ``p(x**a)`` with ``p`` of degree below B: a transform of size B in place of N,
and its values repeat: word ``n`` of the transform of size N is word ``n // a`` of that of ``p``.
"""

from __future__ import annotations

import numpy as np

from thex_hf.backends.numerics.modular import Words, residues
from thex_hf.backends.numerics.ntt import Transform
from thex_hf.prepared.bfv.context import BfvContext
from thex_hf.prepared.bfv.slots import check_width, slot_words


class InstancePlaintexts:
    """Encodes for instances of one width.

    Args:
        context: the context.
        width: a, the slots of one instance.

    Raises:
        PlanError: ``width`` is no power of two, or over N/4.
    """

    def __init__(self, context: BfvContext, width: int) -> None:
        check_width(context.parameters.ring_degree, width)
        self.instances = context.parameters.ring_degree // width
        self._plain: Transform
        self._limbs: list[Transform]
        self._plain, self._limbs = context.transforms(width)
        self._order = np.argsort(slot_words(self.instances))

    def coefficients(self, values: Words) -> Words:
        """Coefficients ``(..., B)`` of ``p``, below t, from its values ``(..., B)``."""
        return self._plain.backward(np.ascontiguousarray(values[..., self._order]))

    def words(self, coefficients: Words, limb: int) -> Words:
        """Words ``(..., B)`` of ``p`` modulo one prime, its coefficients lifted about zero."""
        plain, transform = self._plain.prime, self._limbs[limb]
        signed = coefficients.view(np.int64)
        signed = signed - np.int64(plain) * (signed > plain // 2)
        return transform.forward(residues(signed, transform.prime))
