"""Fold everything that is linear in a polynomial encoder into the fewest plaintext maps."""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.polynomial.folding_feed_forward import (
    fold_cls_head,
    fold_feed_forward,
    fold_token_head,
)
from thex_hf.circuits.polynomial.maps import (
    LAST_SHRINK,
    PARTS_GAIN,
    ROW_SHRINK,
    STRETCH,
    AttentionMaps,
    PolynomialLayers,
    terms_of,
)
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights, LayerWeights


def fold_polynomial(weights: EncoderWeights) -> PolynomialLayers:
    """Fold all layers.

    Raises:
        PlanError: the weights are not of the polynomial form.
    """
    if weights.form != "polynomial":
        raise PlanError(
            f"the polynomial circuit needs weights of the polynomial form, these are of form "
            f"{weights.form!r}; convert the model with thex-hf convert --form polynomial"
        )
    last, cls = len(weights.layers) - 1, weights.head == "cls"
    units = [1.0] * last + [2.0**LAST_SHRINK if cls else 1.0]
    attention = tuple(
        fold_attention(layer, weights.heads, unit, last=cls and index == last)
        for index, (layer, unit) in enumerate(zip(weights.layers, units, strict=True))
    )
    ffn = tuple(
        fold_feed_forward(layer, unit)
        for layer, unit in zip(weights.layers[:-1], units[1:], strict=True)
    )
    return PolynomialLayers(
        attention, ffn, fold_cls_head(weights) if cls else fold_token_head(weights)
    )


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
