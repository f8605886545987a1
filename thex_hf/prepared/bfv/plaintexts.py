"""Plaintexts that have one value for each instance, as words of SEAL's transform.

Such a plaintext is ``p(x**a)`` with ``p`` of degree below B: a transform of size B in place of N,
and its values repeat: word ``n`` of the transform of size N is word ``n // a`` of that of ``p``.
"""

from __future__ import annotations

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.bfv.context import BfvContext
from thex_hf.prepared.bfv.lazily import LazyTransform, Signed, centred
from thex_hf.prepared.bfv.slots import check_width, slot_words

_AT_A_TIME = 1 << 16  # words that are transformed at a time, so that they stay in the cache


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
        self.instances = size = context.parameters.ring_degree // width
        plain, pairs = (
            context.parameters.plain_modulus,
            zip(context.seal.primes, context.roots(), strict=True),
        )
        self._plain = LazyTransform(size, plain, pow(context.plain_root(), width, plain))
        self._limbs = [LazyTransform(size, q, pow(root, width, q)) for q, root in pairs]
        self._words = slot_words(size)

    def encode(self, values: Words) -> Signed:
        """Words ``(L, B, ...)`` of the plaintexts with values ``(..., B)``, centred.

        The coefficients of the plaintexts are lifted about zero.
        """
        rows = values.reshape(-1, self.instances)
        out = np.empty((len(self._limbs), self.instances, len(rows)), np.int64)
        step = max(1, _AT_A_TIME // self.instances)
        for start in range(0, len(rows), step):
            columns = slice(start, start + step)
            block = np.empty((self.instances, len(rows[columns])), np.int64)
            block[self._words] = rows[columns].T.view(np.int64)
            self._plain.backward(block)
            for words, limb in zip(out, self._limbs, strict=True):
                transformed = limb.forward(block.copy())
                words[:, columns] = centred(transformed, limb.prime)
        return out.reshape(*out.shape[:2], *values.shape[:-1])
