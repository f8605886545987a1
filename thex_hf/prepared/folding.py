"""An encoder as a :class:`~thex_hf.prepared.network.Network`.

Everything between two products is one linear map of what these products gave. With affine norms,
``y = N1 (x + O c) + const`` after attention and ``u = U y + const`` before the activation,

    u  = U N1 x + U N1 O c,        x' = N2 N1 x + N2 N1 O c + a N2 D u^2    (and constants),

where the square is completed, as in :mod:`thex_hf.circuits.polynomial.folding_feed_forward`. So a
layer takes four round trips with a power of two: scores and masked values, their square, contexts,
``u^2``; and one more for each further product of a higher power. The last layer computes the
[CLS] row alone where no other is read. Norms of the normalised form take the round trips of
:mod:`thex_hf.prepared.normalising` beside these; their scale and shift join the next map.

In the THE-X form the client sees attention scores and what enters ReLU, and computes both softmax
and ReLU: two round trips a layer, since attention weights that the client knows meet the values in
the same message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.polynomial.folding_feed_forward import pre_square
from thex_hf.circuits.polynomial.maps import terms_of
from thex_hf.errors import PlanError
from thex_hf.prepared.building import Builder, Sum, bits_of_sum
from thex_hf.prepared.field import Reals
from thex_hf.prepared.forms import Context, Masked, Scores, Square, Times
from thex_hf.prepared.network import Network, Product, RowSum, Shown, Value
from thex_hf.prepared.normalising import centring, normalise, read_by
from thex_hf.weights import EncoderWeights, LayerWeights

SOFTMAX = {"estimate": "estimate", "exact": "softmax"}
"""Of the THE-X form: what a client may finish, and what a network calls it."""
BITS = 13
"""After the binary point of most values."""


def fold_network(
    weights: EncoderWeights, tokens: int, bits: int = BITS, softmax: str = "estimate"
) -> Network:
    """The network of an encoder of any form for texts of up to ``tokens`` tokens.

    Args:
        weights: of the encoder.
        tokens: padded length.
        bits: after the binary point of most values.
        softmax: of the THE-X form: ``estimate`` or ``exact``; the client finishes it.

    Raises:
        PlanError: weights too large, or another softmax.
    """
    if weights.form == "the-x" and softmax not in SOFTMAX:
        raise PlanError(
            f"under protocol 'prepared' the client finishes the softmax: it may be "
            f"{' or '.join(SOFTMAX)}, not {softmax!r}"
        )
    return _Folder(weights, tokens, softmax, Builder(bits)).network()


@dataclass
class _Folder:
    weights: EncoderWeights
    tokens: int
    softmax: str
    builder: Builder
    mask: Value = field(init=False)

    @property
    def bits(self) -> int:
        return self.builder.bits

    def network(self) -> Network:
        tokens, hidden, last = self.tokens, self.weights.hidden, len(self.weights.layers) - 1
        embeddings = Value("embeddings", (tokens, hidden), self.bits)
        self.mask = Value("mask", (tokens,), self.bits + bits_of_sum(tokens))
        stream = Sum.of(embeddings)
        for number, layer in enumerate(self.weights.layers):
            rows = 1 if number == last and self.weights.head == "cls" else tokens
            stream = self._layer(f"{number}.", layer, stream, rows)
            if number == last:
                stream = stream.through(
                    Affine(self.weights.classifier, self.weights.classifier_bias)
                )
                out = self.builder.linear(f"{number}.out", rows, stream)
            elif layer.output_root is None:
                out = self.builder.linear(f"{number}.out", rows, stream)
                stream = Sum.of(self.builder.remasked(f"{number}.stream", out))
        if self.weights.head == "mean":
            out = self._mean(out)
        return Network(embeddings, self.mask, tuple(self.builder.steps), out)

    def _layer(self, name: str, layer: LayerWeights, stream: Sum, rows: int) -> Sum:
        context = self._attention(name, layer, stream, rows)
        attended = stream.plus(context, layer.output, layer.output_bias)
        middle = self._normed(name + "attention.", layer, 0, rows, attended)
        up, down = self._around_activation(layer)
        inner = self.builder.linear(name + "up", rows, middle.through(up))
        bits = self.builder.bits_for(self._reader(layer) @ down.weight)
        activated = self._activated(name, inner, bits)
        total = middle.plus(activated, down.weight, down.bias)
        return self._normed(name + "output.", layer, 1, rows, total)

    def _normed(self, name: str, layer: LayerWeights, which: int, rows: int, total: Sum) -> Sum:
        root = layer.roots[which]
        if root is None:
            return total.through(_norm(layer, which))
        value = normalise(self.builder, name, rows, total, root)
        return Sum.of(value, *_scales(layer)[which])

    def _reader(self, layer: LayerWeights) -> Reals:
        """The map by which the sum behind the activation is read."""
        root = layer.output_root
        if root is not None:
            return read_by(root, self.weights.hidden)
        last = layer is self.weights.layers[-1]
        norm = _norm(layer, 1).weight
        return np.asarray(self.weights.classifier @ norm) if last else norm

    @property
    def _compares(self) -> bool:
        return self.weights.form == "the-x"

    def _around_activation(self, layer: LayerWeights) -> tuple[Affine, Affine]:
        """The maps before and after what is not linear in the feed-forward part."""
        if self._compares:
            return Affine(layer.up, layer.up_bias), Affine(layer.down, layer.down_bias)
        hidden = self.weights.hidden
        return pre_square(layer, Affine(np.eye(hidden), np.zeros(hidden)))

    def _activated(self, name: str, inner: Value, bits: int) -> Value:
        if not self._compares:
            return self.builder.product(name + "square", Square(inner.shape), inner, inner, bits)
        out = Value(name + "relu", inner.shape, self.bits)
        self.builder.steps.append(Shown(out, inner, "relu"))
        return out

    def _attention(self, name: str, layer: LayerWeights, stream: Sum, rows: int) -> Value:
        heads, hidden = self.weights.heads, self.weights.hidden
        linear, product = self.builder.linear, self.builder.product
        gains = np.ones(heads)
        if not self._compares:
            terms = terms_of(layer)
            gains = terms.score_scale ** (1 / terms.power)
        factor = np.repeat(gains / math.sqrt(hidden // heads), hidden // heads)
        finer = round(-math.log2(float(np.median(factor))))  # queries are small by that
        query = Affine(layer.query * factor[:, None], layer.query_bias * factor)
        queries = linear(name + "query", rows, stream.through(query), self.bits + max(0, finer))
        zero = np.zeros(hidden)
        keys = linear(name + "key", self.tokens, stream.through(Affine(layer.key, zero)))
        values = linear(name + "value", self.tokens, stream.through(Affine(layer.value, zero)))
        if self._compares:
            return self._softmax_attention(name, queries, keys, values)
        over_n = self.bits + -(-bits_of_sum(self.tokens) // 2)  # values over n are small
        shared = product(name + "shared", Masked(hidden), self.mask, values, over_n)
        shift = terms.score_shift[:, None, None]
        if (between := self.weights.between(rows, self.tokens)) is not None:
            shift = shift + between
        constant = np.rint(shift * gains[:, None, None] * 2.0**self.bits).astype(np.int64)
        scores = product(name + "scores", Scores(heads), queries, keys, constant=constant)
        power = self._power(name, scores, terms.power)
        return product(name + "context", Context(heads), power, shared)

    def _softmax_attention(self, name: str, queries: Value, keys: Value, values: Value) -> Value:
        """The client sees the scores and finishes the softmax (THE-X, figure 1)."""
        heads = self.weights.heads
        bits = self.bits + -(-bits_of_sum(self.tokens) // 2)  # weights sum to one
        shape = (heads, queries.shape[0], self.tokens)
        weights = Value(name + "weights", shape, bits)
        scores = Product(weights, Scores(heads), queries, keys, 0, function=SOFTMAX[self.softmax])
        self.builder.steps.append(scores)
        return self.builder.product(name + "context", Context(heads, known=True), weights, values)

    def _power(self, name: str, scores: Value, power: int) -> Value:
        product, shape = self.builder.product, scores.shape
        square = product(name + "power2", Square(shape), scores, scores)
        if power == 2:
            return square
        fourth = product(name + "power4", Square(shape), square, square)
        return fourth if power == 4 else product(name + "power6", Times(shape), square, fourth)

    def _mean(self, logits: Value) -> Value:
        bits = self.bits + bits_of_sum(self.tokens)
        shared = self.builder.product(
            "head.shared", Masked(logits.shape[1]), self.mask, logits, bits
        )
        out = Value("head.mean", (1, logits.shape[1]), shared.bits)
        self.builder.steps.append(RowSum(out, shared))
        return out


def _scales(layer: LayerWeights) -> tuple[tuple[Reals, Reals], tuple[Reals, Reals]]:
    """Scale and shift of both norms."""
    return (
        (layer.attention_scale, layer.attention_shift),
        (layer.output_scale, layer.output_shift),
    )


def _norm(layer: LayerWeights, which: int) -> Affine:
    """A norm that divides by nothing."""
    scale, shift = _scales(layer)[which]
    centred = layer.polynomial is not None and layer.polynomial.centred
    middle = centring(len(scale)) if centred else np.eye(len(scale))
    return Affine(scale[:, None] * middle, shift)
