"""Fold everything that is linear in a polynomial encoder into the fewest plaintext maps.

For many texts (:func:`fold_batch`) the maps are between paired features: a complex pair
``z = x_0 + i x_1`` is a pair of reals, so a real-linear map of pairs is ``A z + B conj(z)`` with
complex matrices. Nothing is folded into more products than it saves: unlike the circuit for one
text, queries, keys and values keep their heads' own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    FeedForward,
    Head,
    PolynomialLayers,
    terms_of,
)
from thex_hf.errors import PlanError
from thex_hf.weights import Array, EncoderWeights, LayerWeights


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


ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True)
class PairAttention:
    """Attention of one layer; each head has ``p`` pairs of features, the last maybe half empty.

    ``query`` is made so that the real part of ``query * key``, summed over a head's pairs and
    doubled, is the score times ``gain`` of :attr:`shift`; ``key`` and ``value`` are the pairs.
    """

    power: int
    heads: int
    query: Affine  # (heads * p, d) complex, from real features
    key: Affine
    value: Affine
    shift: Array  # (heads,)
    output: Array  # (d, heads * 2p): from the pairs' real features to the stream
    bias: Array  # (d,)


@dataclass(frozen=True)
class PairFeedForward:
    """A layer after attention, but the last: from stream and context to the next stream."""

    up: Affine  # (ceil(m/2), d + context) complex
    keep: Affine  # (ceil(d/2), d + context) complex
    down: ComplexArray  # (ceil(d/2), ceil(m/2)): on the squares
    down_conjugate: ComplexArray  # the same; the conjugate of the result is added


@dataclass(frozen=True)
class PairHead:
    """``logit_k = 2 Re sum(row * form_k) + bias_k``, all from stream and context of [CLS].

    Both factors are of one size, as ciphertexts carry about the same noise each.
    """

    row: Affine  # (ceil(d/2), d + context)
    forms: tuple[Affine, ...]  # one for each label, of the same shape
    bias: Array  # (labels,)


@dataclass(frozen=True)
class BatchLayers:
    """A whole folded encoder."""

    attention: tuple[PairAttention, ...]
    ffn: tuple[PairFeedForward, ...]  # one fewer
    head: PairHead


def fold_batch(weights: EncoderWeights) -> BatchLayers:
    """Fold all layers.

    Raises:
        PlanError: the weights are not of the polynomial form, or more than [CLS] is read.
    """
    folded = fold_polynomial(weights)
    if not isinstance(folded.head, Head):
        raise PlanError(
            f"a batch serves models with head 'cls', this one has {weights.head!r}; send each text "
            f"in a request of its own (packing='text')"
        )
    attention = tuple(_attention(layer, weights.heads) for layer in weights.layers)
    units = [1.0] * (len(folded.ffn) - 1) + [2.0**-LAST_SHRINK]
    ffn = tuple(_ffn(f, a, unit) for f, a, unit in zip(folded.ffn, attention, units, strict=False))
    return BatchLayers(attention, ffn, _head(folded.head, attention[-1]))


def pairs_of(affine: Affine) -> Affine:
    """Rows ``2j`` and ``2j + 1`` as real and imaginary part of row ``j``."""
    odd = len(affine.bias) % 2
    weight, bias = np.pad(affine.weight, ((0, odd), (0, 0))), np.pad(affine.bias, (0, odd))
    return Affine(weight[::2] + 1j * weight[1::2], bias[::2] + 1j * bias[1::2])


def both(affine: Affine) -> tuple[ComplexArray, ComplexArray]:
    """``(A, B)`` of ``A z + B conj(z)``, from columns for real features.

    The number of features must be even, see :func:`even_columns`.
    """
    even, odd = affine.weight[:, ::2], affine.weight[:, 1::2]
    direct, conjugated = (even - 1j * odd) / 2, (even + 1j * odd) / 2
    return direct.astype(np.complex128), conjugated.astype(np.complex128)


def stacked(maps: Sequence[Affine]) -> Affine:
    """Several maps of the same features, one below the other."""
    return Affine(np.vstack([a.weight for a in maps]), np.concatenate([a.bias for a in maps]))


def even_columns(matrix: Array) -> Array:
    """A column of zeros after an odd number."""
    padded: Array = np.pad(matrix, ((0, 0), (0, matrix.shape[1] % 2)))
    return padded


def _attention(layer: LayerWeights, heads: int) -> PairAttention:
    terms = terms_of(layer)
    size = layer.query.shape[0] // heads
    gain = terms.score_scale ** (1 / terms.power)
    factor = np.repeat(gain, size) / (2 * np.sqrt(size))
    query = Affine(layer.query * factor[:, None], layer.query_bias * factor)
    zero = np.zeros(len(layer.query_bias))
    query, key, value = (
        _by_heads(affine, heads)
        for affine in (query, Affine(layer.key, zero), Affine(layer.value, zero))
    )
    by_head = layer.output.reshape(-1, heads, size)
    output: Array = np.pad(by_head, ((0, 0), (0, 0), (0, size % 2))).reshape(len(by_head), -1)
    return PairAttention(
        power=terms.power,
        heads=heads,
        query=Affine(query.weight.conj(), query.bias.conj()),
        key=key,
        value=value,
        shift=gain * terms.score_shift,
        output=output,
        bias=layer.output_bias,
    )


def _by_heads(affine: Affine, heads: int) -> Affine:
    """Pairs of each head's features, head after head; the input's columns made even."""
    inner = affine.weight.shape[1]
    blocks = affine.weight.reshape(heads, -1, inner)
    odd = blocks.shape[1] % 2
    weight = np.pad(blocks, ((0, 0), (0, odd), (0, 0))).reshape(-1, inner)
    bias = np.pad(affine.bias.reshape(heads, -1), ((0, 0), (0, odd))).ravel()
    paired = pairs_of(Affine(weight, bias))
    return Affine(even_columns(paired.weight), paired.bias)


def _after(affine: Affine, attention: PairAttention) -> Affine:
    """A map of the stream after attention, as one of stream and context side by side."""
    weight = np.hstack([even_columns(affine.weight), affine.weight @ attention.output])
    return Affine(weight, affine.bias + affine.weight @ attention.bias)


def _ffn(ffn: FeedForward, attention: PairAttention, unit: float) -> PairFeedForward:
    # the next stream over unit is twice the real part of down.weight times the squares
    down = ffn.down.weight / unit
    down = np.pad(down, ((0, len(down) % 2), (0, 0)))
    return PairFeedForward(
        up=_after(ffn.up, attention),
        keep=_after(pairs_of(ffn.keep.divided_by(unit)), attention),
        down=down[::2] + 1j * down[1::2],
        down_conjugate=down[::2] - 1j * down[1::2],
    )


def _head(head: Head, attention: PairAttention) -> PairHead:
    size, shrink = len(attention.bias), 2.0**ROW_SHRINK
    row = pairs_of(Affine(np.eye(size) / shrink, np.zeros(size)))
    forms = []
    for label in range(len(head.bias)):
        rows = slice(label * size, (label + 1) * size)
        form = pairs_of(Affine(head.form.weight[rows] / shrink, head.form.bias[rows]))
        forms.append(_after(form.divided_by(2.0), attention))
    return PairHead(
        row=_after(Affine(row.weight.conj(), row.bias), attention),
        forms=tuple(forms),
        bias=head.bias,
    )
