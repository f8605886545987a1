"""Fold everything that is linear into the fewest plaintext maps.

* ``scores = (W_q x + b) . (W_k y)`` becomes ``(M x + m) . y``: no key projection.
* the output projection joins the value projection of each head: ``W_o[:, h] W_v[h]``.
* affine norms, centred or not, join the maps around them.
* ``a f^2 + b f + c = a (f + b/2a)^2 + rest``: only a square is left of the activation.
* two heads share one complex map, ``M_0 + i M_1``, and so do the halves of the FFN. The
  squares of both parts are ``4 (s_0^2 + i s_1^2)`` (see :mod:`.powers`); times
  ``V_0 - i V_1`` the real part is the sum over both heads.
* the last FFN and the classifier read one row: together they are the quadratic form
  ``u . (A u + b) + c`` for each label, one level less than FFN and classifier.
* where the classifier reads every token it joins the last FFN's second matrix instead, and the
  last layer is like the others.

Every ciphertext carries about the same noise, so factors of a product should be of one size
and scores not small: the last layer's stream is carried divided by ``2**LAST_SHRINK``, its
queries and scores are stretched, and the values take the factors back; the [CLS] row that
reaches the head is carried divided by ``2**ROW_SHRINK``, and its form is stretched.

The factors 4 and the doubling when the real part is taken are divided out here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thex_hf.circuits.folding import Affine
from thex_hf.errors import PlanError
from thex_hf.weights import Array, EncoderWeights, LayerWeights, PolynomialTerms

ComplexArray = NDArray[np.complex128]

LAST_SHRINK = 4
ROW_SHRINK = 1
STRETCH = 1
"""The last layer's scores are computed times ``2**`` that."""

PARTS_GAIN = {2: 4.0, 4: 64.0, 6: 1024.0}
"""What :func:`thex_hf.circuits.polynomial.powers.power` multiplies ``z^p`` by."""


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of one layer; lists go over pairs of heads."""

    power: int
    query: tuple[Affine, ...]  # (d, d) complex: from a query's stream to what its keys meet
    shift: tuple[complex, ...]  # added to the scores
    value: tuple[Affine, ...]  # (d, d) complex: value and output projection
    bias: Array  # (d,)
    keep: float  # factor on the stream that it is added to


@dataclass(frozen=True)
class FeedForward:
    """FFN with its norms, for every token; ``r`` results a token.

    They are the ``d`` features of the next layer's stream or, in the last layer, the logits.
    """

    up: Affine  # (ceil(m/2), d) complex
    down: Affine  # (r, ceil(m/2)) complex; the real part counts
    keep: Affine  # (r, d): the residual, through both norms; the bias is the whole step's
    diagonal: bool  # whether keep is one factor for each feature


@dataclass(frozen=True)
class Head:
    """Last FFN and classifier: ``logit_k = u . (A_k u + b_k) + c_k``, of the shrunk row."""

    form: Affine  # (labels * d, d): the A_k and b_k, one below the other
    bias: Array  # (labels,)


@dataclass(frozen=True)
class PolynomialLayers:
    """A whole folded encoder; ``head`` is a :class:`FeedForward` unless [CLS] alone is read."""

    attention: tuple[AttentionMaps, ...]
    ffn: tuple[FeedForward, ...]  # one fewer
    head: Head | FeedForward


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
        _attention(layer, weights.heads, unit, last=cls and index == last)
        for index, (layer, unit) in enumerate(zip(weights.layers, units, strict=True))
    )
    ffn = tuple(
        _ffn(layer, unit) for layer, unit in zip(weights.layers[:-1], units[1:], strict=True)
    )
    return PolynomialLayers(attention, ffn, _head(weights) if cls else _token_head(weights))


def terms_of(layer: LayerWeights) -> PolynomialTerms:
    """The layer's polynomial terms, which :func:`fold_polynomial` has made sure of."""
    assert layer.polynomial is not None
    return layer.polynomial


def _attention(layer: LayerWeights, heads: int, unit: float, *, last: bool) -> AttentionMaps:
    terms = terms_of(layer)
    size = layer.query.shape[0] // heads
    # power() gives PARTS_GAIN * z^p, and the weights must be score_scale * (s + c)^p
    stretch, shrink = (STRETCH, 2.0**ROW_SHRINK) if last else (0, 1.0)
    gains = (terms.score_scale / PARTS_GAIN[terms.power]) ** (1 / terms.power) * 2.0**stretch
    back = 2 * shrink * 2.0 ** (stretch * terms.power)  # the real part doubles
    query, value = [], []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        key = layer.key[own].T * gains[h] * unit / np.sqrt(size)
        query.append(Affine(key @ layer.query[own] * unit, key @ layer.query_bias[own]))
        value.append(layer.output[:, own] @ layer.value[own] * unit / back)
    zero = np.zeros_like(value[0])
    if heads % 2:
        query.append(Affine(zero, zero[0]))
        value.append(zero)
    shift = np.append(gains * terms.score_shift, [0.0] * (heads % 2))
    return AttentionMaps(
        power=terms.power,
        query=tuple(_beside(a, b) for a, b in zip(query[::2], query[1::2], strict=True)),
        shift=tuple(complex(a, b) for a, b in zip(shift[::2], shift[1::2], strict=True)),
        value=tuple(
            Affine(a - 1j * b, zero[0]) for a, b in zip(value[::2], value[1::2], strict=True)
        ),
        bias=layer.output_bias / shrink,
        keep=unit / shrink,
    )


def _beside(real: Affine, imaginary: Affine) -> Affine:
    return Affine(
        real.weight + 1j * imaginary.weight,
        real.bias + 1j * imaginary.bias,
    )


def _norm(scale: Array, shift: Array, *, centred: bool) -> Affine:
    """An affine norm as a matrix."""
    size = len(scale)
    middle = np.full((size, size), 1.0 / size) if centred else np.zeros((size, size))
    return Affine(scale[:, None] * (np.eye(size) - middle), shift)


def _norms(layer: LayerWeights) -> tuple[Affine, Affine]:
    centred = terms_of(layer).centred
    return (
        _norm(layer.attention_scale, layer.attention_shift, centred=centred),
        _norm(layer.output_scale, layer.output_shift, centred=centred),
    )


def _pre_square(layer: LayerWeights, norm: Affine) -> tuple[Affine, Affine]:
    """``(up, down)`` around a bare square, acting on the stream before the first norm."""
    a, b, c = terms_of(layer).activation
    up = Affine(layer.up @ norm.weight, layer.up @ norm.bias + layer.up_bias + b / (2 * a))
    rest = np.full(len(layer.up_bias), c - b * b / (4 * a))
    return up, Affine(a * layer.down, layer.down @ rest + layer.down_bias)


def _ffn(layer: LayerWeights, unit: float) -> FeedForward:
    return _ffn_into(layer, _norms(layer)[1], unit, diagonal=not terms_of(layer).centred)


def _token_head(weights: EncoderWeights) -> FeedForward:
    """The last FFN, with the classifier after its second norm."""
    layer = weights.layers[-1]
    second = _norms(layer)[1]
    bias = weights.classifier @ second.bias + weights.classifier_bias
    return _ffn_into(layer, Affine(weights.classifier @ second.weight, bias), 1.0, diagonal=False)


def _ffn_into(layer: LayerWeights, out: Affine, unit: float, *, diagonal: bool) -> FeedForward:
    """The FFN before a map ``out``, whose results are carried divided by ``unit``."""
    first = _norms(layer)[0]
    up, down = _pre_square(layer, first)
    return FeedForward(
        up=_halves(up),
        down=_half_reader(out.weight @ down.weight / (4 * 2 * unit)),
        keep=Affine(
            out.weight @ first.weight, out.weight @ (down.bias + first.bias) + out.bias
        ).over(unit),
        diagonal=diagonal,
    )


def _halves(up: Affine) -> Affine:
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


def _head(weights: EncoderWeights) -> Head:
    layer = weights.layers[-1]
    first, second = _norms(layer)
    up, down = _pre_square(layer, first)
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
