"""The feed-forward part with its norms and, in the last layer, the classifier.

* affine norms, centred or not, join the maps around them.
* ``a f^2 + b f + c = a (f + b/2a)^2 + rest``: only a square is left of the activation.
* both halves share one complex map, as the heads of a pair do in attention.
* the last part and the classifier read one row: together they are the quadratic form
  ``u . (A u + b) + c`` for each label, one level less than one after the other.
* where the classifier reads every token it joins the second matrix instead, and the last layer is
  like the others.
"""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.polynomial.maps import ROW_SHRINK, FeedForward, Head, terms_of
from thex_hf.weights import Array, EncoderWeights, LayerWeights


def _norm(scale: Array, shift: Array, *, centred: bool) -> Affine:
    """An affine norm as a matrix."""
    size = len(scale)
    middle = np.full((size, size), 1.0 / size) if centred else np.zeros((size, size))
    return Affine(scale[:, None] * (np.eye(size) - middle), shift)


def norms(layer: LayerWeights) -> tuple[Affine, Affine]:
    """The norms after attention and after the feed-forward part."""
    centred = terms_of(layer).centred
    return (
        _norm(layer.attention_scale, layer.attention_shift, centred=centred),
        _norm(layer.output_scale, layer.output_shift, centred=centred),
    )


def pre_square(layer: LayerWeights, norm: Affine) -> tuple[Affine, Affine]:
    """``(up, down)`` around a bare square, acting on the stream before the first norm."""
    a, b, c = terms_of(layer).activation
    up = Affine(layer.up @ norm.weight, layer.up @ norm.bias + layer.up_bias + b / (2 * a))
    rest = np.full(len(layer.up_bias), c - b * b / (4 * a))
    return up, Affine(a * layer.down, layer.down @ rest + layer.down_bias)


def fold_feed_forward(layer: LayerWeights, unit: float) -> FeedForward:
    """A layer before the last: its next stream is carried divided by ``unit``."""
    return _ffn_into(layer, norms(layer)[1], unit, diagonal=not terms_of(layer).centred)


def fold_token_head(weights: EncoderWeights) -> FeedForward:
    """The last FFN, with the classifier after its second norm."""
    layer = weights.layers[-1]
    second = norms(layer)[1]
    bias = weights.classifier @ second.bias + weights.classifier_bias
    return _ffn_into(layer, Affine(weights.classifier @ second.weight, bias), 1.0, diagonal=False)


def _ffn_into(layer: LayerWeights, out: Affine, unit: float, *, diagonal: bool) -> FeedForward:
    """The FFN before a map ``out``, whose results are carried divided by ``unit``."""
    first = norms(layer)[0]
    up, down = pre_square(layer, first)
    return FeedForward(
        up=_complex_halves(up),
        down=_half_reader(out.weight @ down.weight / (4 * 2 * unit)),
        keep=Affine(
            out.weight @ first.weight, out.weight @ (down.bias + first.bias) + out.bias
        ).divided_by(unit),
        diagonal=diagonal,
    )


def _complex_halves(up: Affine) -> Affine:
    """Second half of the rows as the imaginary part of the first."""
    half = -(-len(up.bias) // 2)
    weight = np.pad(up.weight, ((0, 2 * half - len(up.bias)), (0, 0)))
    bias = np.pad(up.bias, (0, 2 * half - len(up.bias)))
    return Affine(weight[:half] + 1j * weight[half:], bias[:half] + 1j * bias[half:])


def _half_reader(weight: Array) -> Affine:
    """A map of both halves, ``D_1 - i D_2``: the real part is ``D_1 p + D_2 q`` of ``p + iq``."""
    half = -(-weight.shape[1] // 2)
    weight = np.pad(weight, ((0, 0), (0, 2 * half - weight.shape[1])))
    return Affine(weight[:, :half] - 1j * weight[:, half:], np.zeros(len(weight)))


def fold_cls_head(weights: EncoderWeights) -> Head:
    """The last FFN and the classifier of the [CLS] row, as quadratic forms."""
    layer = weights.layers[-1]
    first, second = norms(layer)
    up, down = pre_square(layer, first)
    reader = weights.classifier @ second.weight  # (labels, d), from before the last norm
    weight, bias = reader @ down.weight, reader @ (down.bias + first.bias)
    forms = np.einsum("km,mi,mj->kij", weight, up.weight, up.weight)
    linear = 2 * (weight * up.bias) @ up.weight + reader @ first.weight
    constant = weight @ up.bias**2 + bias
    unit = 2.0**ROW_SHRINK
    return Head(
        form=Affine(forms.reshape(-1, weights.hidden) * unit * unit, linear.ravel() * unit),
        bias=constant + weights.classifier @ second.bias + weights.classifier_bias,
    )
