"""Attention as few maps: no key projection, and the output projection joined to the values.

``scores = (W_q x + b) . (W_k y)`` becomes ``(M x + m) . y``, and each head's values
``W_o[:, h] W_v[h]``. Two heads share one complex map, ``M_0 + i M_1``. The squares of both parts
are ``4 (s_0^2 + i s_1^2)`` (see :mod:`.powers`); times ``V_0 - i V_1`` the real part is the sum
over both heads. The factors 4 and the doubling when the real part is taken are divided out here.
"""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.polynomial.maps import (
    PARTS_GAIN,
    ROW_SHRINK,
    STRETCH,
    AttentionMaps,
    terms_of,
)
from thex_hf.weights import LayerWeights


def fold_attention(layer: LayerWeights, heads: int, unit: float, *, last: bool) -> AttentionMaps:
    """The maps of one layer, on a stream carried divided by ``unit``; ``last``: read by [CLS]."""
    terms = terms_of(layer)
    size = layer.query.shape[0] // heads
    # power() gives PARTS_GAIN * z^p, and the weights must be score_scale * (s + c)^p
    stretch, shrink = (STRETCH, 2.0**ROW_SHRINK) if last else (0, 1.0)
    gains = (terms.score_scale / PARTS_GAIN[terms.power]) ** (1 / terms.power) * 2.0**stretch
    back = 2 * shrink * 2.0 ** (stretch * terms.power)  # the real part doubles
    query, value = [], []
    for h in range(heads):
        rows = slice(h * size, (h + 1) * size)
        key = layer.key[rows].T * gains[h] * unit / np.sqrt(size)
        query.append(Affine(key @ layer.query[rows] * unit, key @ layer.query_bias[rows]))
        value.append(layer.output[:, rows] @ layer.value[rows] * unit / back)
    zero = np.zeros_like(value[0])
    if heads % 2:
        query.append(Affine(zero, zero[0]))
        value.append(zero)
    shift = np.append(gains * terms.score_shift, [0.0] * (heads % 2))
    return AttentionMaps(
        power=terms.power,
        query=tuple(_complex_map(a, b) for a, b in zip(query[::2], query[1::2], strict=True)),
        shift=tuple(complex(a, b) for a, b in zip(shift[::2], shift[1::2], strict=True)),
        value=tuple(
            Affine(a - 1j * b, zero[0]) for a, b in zip(value[::2], value[1::2], strict=True)
        ),
        bias=layer.output_bias / shrink,
        keep=unit / shrink,
    )


def _complex_map(real: Affine, imaginary: Affine) -> Affine:
    return Affine(
        real.weight + 1j * imaginary.weight,
        real.bias + 1j * imaginary.bias,
    )
