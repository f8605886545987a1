"""Fold everything that costs no level into the plaintext matrices.

The server never carries the hidden state ``x`` itself but a *stream* ``v`` with
``x = scale * v + shift``: the affine LayerNorms (THE-X, section 3.1.3) disappear into
neighbouring weights. Within a layer, ``u = x + attention`` is kept before its affine norm
and the FFN's output is divided by that norm's scale, so no level is spent on either norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.errors import PlanError
from thex_hf.weights import Array, EncoderWeights, LayerWeights

SMALLEST_SCALE = 1e-3
"""Of an affine norm: what is nearer zero is not divided by."""


@dataclass(frozen=True)
class FoldedLayer:
    """One layer's maps, acting on the stream."""

    query: Affine  # divided by sqrt(head size)
    key: Affine
    value: Affine
    output: Affine
    residual: Array  # (d,) factor on the stream
    up: Affine
    down: Affine  # to the next stream; in the last layer to the logits
    skip: Array | None  # last layer: (labels, d) from u to the logits of the same token


def fold(weights: EncoderWeights) -> tuple[FoldedLayer, ...]:
    """Fold all layers.

    Raises:
        PlanError: an affine norm's scale is too near zero to divide by.
    """
    scale, shift = np.ones(weights.hidden), np.zeros(weights.hidden)
    folded = []
    for index, layer in enumerate(weights.layers):
        last = index == len(weights.layers) - 1
        down, skip = _head(weights, layer) if last else (_down(layer, index), None)
        folded.append(_layer(weights, layer, scale, shift, down, skip))
        scale, shift = layer.output_scale * layer.attention_scale, layer.output_shift
    return tuple(folded)


def _layer(
    weights: EncoderWeights,
    layer: LayerWeights,
    scale: Array,
    shift: Array,
    down: Affine,
    skip: Array | None,
) -> FoldedLayer:
    root = np.sqrt(weights.hidden // weights.heads)
    return FoldedLayer(
        query=Affine(layer.query * scale / root, (layer.query @ shift + layer.query_bias) / root),
        key=Affine(layer.key * scale, layer.key @ shift),
        value=Affine(layer.value * scale, layer.value @ shift),
        output=Affine(layer.output, layer.output_bias + shift),
        residual=scale,
        up=Affine(
            layer.up * layer.attention_scale, layer.up @ layer.attention_shift + layer.up_bias
        ),
        down=down,
        skip=skip,
    )


def _down(layer: LayerWeights, index: int) -> Affine:
    smallest_scale(layer, index)
    gamma = layer.attention_scale
    return Affine(layer.down / gamma[:, None], (layer.down_bias + layer.attention_shift) / gamma)


def _head(weights: EncoderWeights, layer: LayerWeights) -> tuple[Affine, Array]:
    reader = weights.classifier * layer.output_scale
    inner = layer.attention_shift + layer.down_bias
    bias = reader @ inner + weights.classifier @ layer.output_shift + weights.classifier_bias
    return Affine(reader @ layer.down, bias), reader * layer.attention_scale


def smallest_scale(layer: LayerWeights, index: int) -> float:
    """The smallest magnitude in the scale of the affine norm after attention.

    Raises:
        PlanError: it is too near zero to divide by.
    """
    smallest = float(np.abs(layer.attention_scale).min())
    if smallest < SMALLEST_SCALE:
        raise PlanError(
            f"layer {index}: the affine norm after attention has a scale of {smallest:.1e}, at "
            f"least {SMALLEST_SCALE} is needed to fold it; convert the model again (thex-hf "
            f"convert keeps scales away from zero)"
        )
    return smallest
