"""An encoder as a :class:`~thex_hf.prepared.network.Network`.

With ``y = N1 (x + O c) + const`` after attention and ``u = U y + const`` before the activation,
everything between two products is one linear map of what these products gave:

    u  = U N1 x + U N1 O c,        x' = N2 N1 x + N2 N1 O c + a N2 D u^2    (and constants),

where the square is completed, as in :mod:`thex_hf.circuits.polynomial.folding_feed_forward`. So a
layer takes four round trips with a power of two: scores and masked values, their square, contexts,
``u^2``; and one more for each further product of a higher power. The last layer computes the
[CLS] row alone where no other is read.

In the THE-X form the client sees attention scores and what enters ReLU, and computes both softmax
and ReLU: two round trips a layer, since attention weights that the client knows meet the values in
the same message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.polynomial.folding_feed_forward import norms, pre_square
from thex_hf.circuits.polynomial.maps import terms_of
from thex_hf.errors import PlanError
from thex_hf.prepared.field import MOST_WEIGHT_BITS, Reals
from thex_hf.prepared.forms import Context, Form, Masked, Scores, Square, Times
from thex_hf.prepared.network import Linear, Network, Product, Remask, RowSum, Shown, Step, Value
from thex_hf.weights import EncoderWeights, LayerWeights

SOFTMAX = {"estimate": "estimate", "exact": "softmax"}
"""Of the THE-X form: what a client may finish, and what a network calls it."""
BITS = 13
"""After the binary point of most values."""
WEIGHT_BITS = 14
"""Of a linear map, what its result is cut by: the most that its weights have after the point."""
LEAST_BITS = 10
"""After the point of squares, which weights make small again."""


def fold_network(
    weights: EncoderWeights, tokens: int, bits: int = BITS, softmax: str = "estimate"
) -> Network:
    """The network of an encoder of either form for texts of up to ``tokens`` tokens.

    Args:
        weights: of the encoder.
        tokens: padded length.
        bits: after the binary point of most values.
        softmax: of the THE-X form: ``estimate`` or ``exact``; the client finishes it.

    Raises:
        PlanError: weights too large, or another softmax.
    """
    if weights.form != "polynomial" and softmax not in SOFTMAX:
        raise PlanError(
            f"under protocol 'prepared' the client finishes the softmax: it may be "
            f"{' or '.join(SOFTMAX)}, not {softmax!r}"
        )
    return _Folder(weights, tokens, bits, softmax).network()


@dataclass
class _Folder:
    weights: EncoderWeights
    tokens: int
    bits: int
    softmax: str
    steps: list[Step] = field(init=False, default_factory=list)

    def network(self) -> Network:
        tokens, hidden, last = self.tokens, self.weights.hidden, len(self.weights.layers) - 1
        x = embeddings = Value("embeddings", (tokens, hidden), self.bits)
        mask = Value("mask", (tokens,), self.bits + _log(tokens))
        for number, layer in enumerate(self.weights.layers):
            out = self._layer(number, layer, x, mask, last=number == last)
            if number < last:
                x = Value(f"{number}.stream", out.shape, out.bits)
                self.steps.append(Remask(x, out))
        if self.weights.head == "mean":
            out = self._mean(out, mask)
        return Network(embeddings, mask, tuple(self.steps), out)

    def _layer(
        self, number: int, layer: LayerWeights, x: Value, mask: Value, *, last: bool
    ) -> Value:
        rows = 1 if last and self.weights.head == "cls" else self.tokens
        context = self._attention(f"{number}.", layer, x, mask, rows)
        first, second, up, down = self._affine(layer)
        to_up = up.weight @ layer.output
        inner = self._linear(
            f"{number}.up",
            rows,
            [(x, up.weight), (context, to_up)],
            up.weight @ layer.output_bias + up.bias,
        )
        reader = self._reader() if last else Affine(np.eye(len(second.bias)), second.bias * 0)
        after = reader.weight @ second.weight
        through = after @ first.weight
        squares = after @ down.weight
        bias = through @ layer.output_bias + after @ (down.bias + first.bias)
        square = self._activated(f"{number}.", inner, self._bits_for(squares))
        return self._linear(
            f"{number}.out",
            rows,
            [(x, through), (context, through @ layer.output), (square, squares)],
            bias + reader.weight @ second.bias + reader.bias,
        )

    @property
    def _polynomial(self) -> bool:
        return self.weights.form == "polynomial"

    def _affine(self, layer: LayerWeights) -> tuple[Affine, Affine, Affine, Affine]:
        """Both norms, and the maps before and after what is not linear in the feed-forward part."""
        if self._polynomial:
            first, second = norms(layer)
            return first, second, *pre_square(layer, first)
        first = Affine(np.diag(layer.attention_scale), layer.attention_shift)
        second = Affine(np.diag(layer.output_scale), layer.output_shift)
        up = Affine(layer.up @ first.weight, layer.up @ first.bias + layer.up_bias)
        return first, second, up, Affine(layer.down, layer.down_bias)

    def _activated(self, name: str, inner: Value, bits: int) -> Value:
        if self._polynomial:
            return self._product(name + "square", Square(inner.shape), inner, inner, bits)
        out = Value(name + "relu", inner.shape, self.bits)
        self.steps.append(Shown(out, inner, "relu"))
        return out

    def _reader(self) -> Affine:
        return Affine(self.weights.classifier, self.weights.classifier_bias)

    def _attention(self, name: str, layer: LayerWeights, x: Value, mask: Value, rows: int) -> Value:
        heads, hidden = self.weights.heads, self.weights.hidden
        gains = np.ones(heads)
        if self._polynomial:
            terms = terms_of(layer)
            gains = terms.score_scale ** (1 / terms.power)
        factor = np.repeat(gains / math.sqrt(hidden // heads), hidden // heads)
        zero = np.zeros(hidden)
        finer = round(-math.log2(float(np.median(factor))))  # queries are small by that
        queries = self._linear(
            name + "query",
            rows,
            [(x, layer.query * factor[:, None])],
            layer.query_bias * factor,
            self.bits + max(0, finer),
        )
        keys = self._linear(name + "key", self.tokens, [(x, layer.key)], zero)
        values = self._linear(name + "value", self.tokens, [(x, layer.value)], zero)
        if not self._polynomial:
            return self._softmax_attention(name, queries, keys, values)
        over_n = self.bits + -(-_log(self.tokens) // 2)  # values over n are small
        shared = self._product(name + "shared", Masked(hidden), mask, values, over_n)
        shift = np.rint(terms.score_shift * gains * 2.0**self.bits).astype(np.int64)
        scores = self._product(
            name + "scores", Scores(heads), queries, keys, constant=shift[:, None, None]
        )
        power = self._power(name, scores, terms.power)
        return self._product(name + "context", Context(heads), power, shared)

    def _softmax_attention(self, name: str, queries: Value, keys: Value, values: Value) -> Value:
        """The client sees the scores and finishes the softmax (THE-X, figure 1)."""
        heads = self.weights.heads
        bits = self.bits + -(-_log(self.tokens) // 2)  # weights sum to one
        shape = (heads, queries.shape[0], self.tokens)
        weights = Value(name + "weights", shape, bits)
        function = SOFTMAX[self.softmax]
        self.steps.append(Product(weights, Scores(heads), queries, keys, 0, function=function))
        return self._product(name + "context", Context(heads, known=True), weights, values)

    def _power(self, name: str, scores: Value, power: int) -> Value:
        square = self._product(name + "power2", Square(scores.shape), scores, scores)
        if power == 2:
            return square
        fourth = self._product(name + "power4", Square(scores.shape), square, square)
        if power == 4:
            return fourth
        return self._product(name + "power6", Times(scores.shape), square, fourth)

    def _mean(self, logits: Value, mask: Value) -> Value:
        shared = self._product(
            "head.shared", Masked(logits.shape[1]), mask, logits, self.bits + _log(self.tokens)
        )
        out = Value("head.mean", (1, logits.shape[1]), shared.bits)
        self.steps.append(RowSum(out, shared))
        return out

    def _product(
        self,
        name: str,
        form: Form,
        left: Value,
        right: Value,
        bits: int | None = None,
        constant: np.ndarray | None = None,
    ) -> Value:
        bits = self.bits if bits is None else bits
        out = Value(name, form.shape(left.shape, right.shape), bits)
        shift = left.bits + right.bits - bits
        self.steps.append(Product(out, form, left, right, shift, constant))
        return out

    def _linear(
        self,
        name: str,
        rows: int,
        terms: list[tuple[Value, Reals]],
        bias: Reals,
        bits: int | None = None,
    ) -> Value:
        bits = self.bits if bits is None else bits
        total = min([bits + WEIGHT_BITS, *(value.bits + _most_bits(w) for value, w in terms)])
        if total < self.bits + 4:
            raise PlanError(
                f"the weights of {name} reach {max(np.abs(w).max() for _, w in terms):.3g}, and "
                f"numbers of {self.bits} bits after the point carry weights up to 2**10; convert "
                f"again with more weight decay"
            )
        whole = [(v, np.rint(w * 2.0 ** (total - v.bits)).astype(np.int64)) for v, w in terms]
        out = Value(name, (rows, len(bias)), bits)
        constant = np.rint(bias * 2.0**bits).astype(np.int64)
        self.steps.append(Linear(out, tuple(whole), constant, total - bits))
        return out

    def _bits_for(self, weights: Reals) -> int:
        """Bits of a value that only these weights read: what they do not need themselves."""
        return min(self.bits, max(LEAST_BITS, self.bits + WEIGHT_BITS - _most_bits(weights)))


def _most_bits(weights: Reals) -> int:
    """The most bits after the point that such weights can have."""
    largest = max(float(np.abs(weights).max(initial=0.0)), 2.0**-20)
    return math.floor(MOST_WEIGHT_BITS - 1e-3 - math.log2(largest))


def _log(tokens: int) -> int:
    return max(0, (tokens - 1).bit_length())
