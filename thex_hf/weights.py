"""The encoder's weights as plain numpy arrays.

This record is the one thing that crosses from the torch side (``modeling``) to
the homomorphic side (``encrypted``), so that the encrypted path needs no torch.
All matrices follow the torch convention: a linear map is ``y = x @ W.T + b`` with
``W`` of shape ``(out, in)``. Arrays are float64.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thex_hf._choices import NORM_DEGREES, POWERS
from thex_hf.errors import ConversionError

Array = NDArray[np.float64]

USUAL_DEGREE = 4
"""Of the polynomial in a norm that divides by the deviation, where a model does not say."""
FARTHEST = 128
"""Tokens so far apart, or farther, share the last bucket of their side."""
HEADS = ("cls", "mean", "tokens")
"""What the classifier may read: the ``[CLS]`` row, the mean of the true tokens, each token."""


@dataclass(frozen=True)
class PolynomialTerms:
    """What a layer without comparison and division has beside its matrices; ``h`` heads.

    With ``s`` the scores ``(S, S)`` of head ``h``, ``m`` the 0/1 mask of the keys and ``n`` its
    sum, the attention weights are ``(s + score_shift_h)^power * score_scale_h * m / n``. They
    do not sum to one. The feed-forward activation is ``a x^2 + b x + c``. With ``centred`` the
    two norms are ``gamma * (z - mean(z)) + beta``, the mean taken over the ``d`` features.
    """

    power: int
    score_shift: Array  # (h,)
    score_scale: Array  # (h,) positive
    activation: Array  # (3,) a, b, c; a is not zero
    centred: bool = False

    def __post_init__(self) -> None:
        """Check power, shapes and signs."""
        if self.power not in POWERS:
            raise ConversionError(
                f"attention power should be one of {POWERS}; got {self.power}. Convert again."
            )
        shapes = [self.score_shift.shape, self.score_scale.shape, self.activation.shape]
        heads = self.score_shift.shape[0] if self.score_shift.ndim == 1 else 0
        if shapes != [(heads,), (heads,), (3,)]:
            raise ConversionError(
                "score_shift, score_scale and activation should have shapes (heads,), (heads,) "
                f"and (3,); got {shapes}."
            )
        if not (self.score_scale > 0).all():
            raise ConversionError(
                f"score_scale should be positive; got {self.score_scale}. Convert again."
            )
        if self.activation[0] == 0:
            raise ConversionError(
                "the quadratic coefficient of the activation should not be 0: the layer would "
                "be linear. Convert again."
            )


@dataclass(frozen=True)
class InverseRoot:
    """What a norm that divides by the deviation has beside its scale and shift.

    Of an input ``z`` with variance ``v`` over its ``d`` features the norm is
    ``gamma * (z - mean(z)) * P(v) + beta``, and ``P(v) = sum_k coefficients_k T_k(u)`` stands for
    ``1 / sqrt(v)``: ``T_k`` are Chebyshev polynomials, ``u`` goes from -1 to 1 on the interval.
    """

    coefficients: Array  # (degree + 1,)
    interval: Array  # (2,) least and largest variance

    def __post_init__(self) -> None:
        """Check degree and interval."""
        if self.coefficients.shape not in {(degree + 1,) for degree in NORM_DEGREES if degree}:
            raise ConversionError(
                f"a norm's polynomial should have one of the degrees {NORM_DEGREES[1:]}; got "
                f"coefficients of shape {self.coefficients.shape}. Convert again."
            )
        low, high = self.interval if self.interval.shape == (2,) else (0.0, 0.0)
        if not 0 < low < high < np.inf:
            raise ConversionError(
                "the interval of a norm's variance should be two rising positive numbers; got "
                f"{self.interval}. Convert again."
            )


@dataclass(frozen=True)
class LayerWeights:
    """One encoder layer; ``d`` hidden size, ``m`` FFN size.

    ``polynomial`` is None for a layer in THE-X form (ReLU, softmax estimate). A norm without
    :class:`InverseRoot` divides by nothing.

    There is no key bias and no value bias: a key bias adds a constant per query,
    which softmax ignores, and a value bias is part of the output bias.
    """

    query: Array  # (d, d), not yet divided by sqrt(head size)
    query_bias: Array  # (d,)
    key: Array  # (d, d)
    value: Array  # (d, d)
    output: Array  # (d, d)
    output_bias: Array  # (d,)
    attention_scale: Array  # (d,) affine LayerNorm after attention: gamma
    attention_shift: Array  # (d,) beta
    up: Array  # (m, d)
    up_bias: Array  # (m,)
    down: Array  # (d, m)
    down_bias: Array  # (d,)
    output_scale: Array  # (d,) affine LayerNorm after the FFN: gamma
    output_shift: Array  # (d,) beta
    polynomial: PolynomialTerms | None = None
    attention_root: InverseRoot | None = None
    output_root: InverseRoot | None = None

    @property
    def roots(self) -> tuple[InverseRoot | None, InverseRoot | None]:
        """Of the norm after attention, and of the one after the FFN."""
        return (self.attention_root, self.output_root)


MATRICES = tuple(f.name for f in fields(LayerWeights) if f.type == "Array")
"""The arrays of a layer, by name."""


@dataclass(frozen=True)
class EncoderWeights:
    """A whole encoder with its classifier head (no pooler).

    ``classifier`` has shape ``(labels, d)``. ``head`` is one of :data:`HEADS` and says which rows
    of the last layer's output ``x`` ``(S, d)`` it reads: with ``cls`` row 0, with ``mean`` the
    mean of the rows of true tokens (logits ``(labels,)``), with ``tokens`` every row (logits
    ``(S, labels)``). ``relative`` is added to the scores of every layer, by the distance of a key
    from its query (MPNet); see :func:`distance_buckets`.
    """

    heads: int
    layers: tuple[LayerWeights, ...]
    classifier: Array
    classifier_bias: Array
    head: str = "cls"
    relative: Array | None = None  # (buckets, h)

    def __post_init__(self) -> None:
        """Refuse what no circuit can run: see the messages."""
        if not self.layers:
            raise ConversionError(
                "a model should have at least one encoder layer; this one has none, so there is "
                "nothing to run under encryption."
            )
        if self.head not in HEADS:
            raise ConversionError(
                f"head should be one of {HEADS}; got {self.head!r}. Convert again."
            )
        terms = [layer.polynomial for layer in self.layers]
        kinds = {"polynomial" if term is not None else "the-x" for term in terms}
        if len(kinds) > 1:
            raise ConversionError(
                "all layers should have the same form; these are "
                f"{['the-x' if term is None else 'polynomial' for term in terms]}. Convert the "
                "whole model to one form."
            )
        if self.form == "the-x" and self._has_roots:
            raise ConversionError(
                "norms that divide by the deviation go with power attention and quadratic "
                "activations; these layers have neither. Convert again."
            )
        for number, term in enumerate(terms):
            if term is not None and term.score_shift.shape != (self.heads,):
                raise ConversionError(
                    f"layer {number} should have a score shift for each of {self.heads} heads; "
                    f"its shape is {term.score_shift.shape}. Convert again."
                )
        self._check_relative()
        bad = [name for name, array in self._arrays() if not np.isfinite(array).all()]
        if bad:
            raise ConversionError(
                f"all weights should be finite; {', '.join(bad[:3])} "
                f"{'is' if len(bad) == 1 else 'are'} not. The training ran away, or the file is "
                "damaged: take an earlier checkpoint, or convert again."
            )

    def _check_relative(self) -> None:
        table = self.relative
        if table is None:
            return
        if table.ndim != 2 or table.shape[1] != self.heads or table.shape[0] % 4:
            raise ConversionError(
                f"relative should have shape (buckets, {self.heads}), of a multiple of 4 buckets; "
                f"got {table.shape}. Convert again."
            )
        if self.form != "normalised":
            raise ConversionError(
                f"scores that depend on distance go with the normalised form; these layers are of "
                f"the {self.form} form. Convert again with --form normalised."
            )

    def between(self, rows: int, tokens: int) -> Array | None:
        """What is added to the scores of the first rows, ``(h, rows, tokens)``; None: nothing."""
        if self.relative is None:
            return None
        distances = np.arange(tokens)[None, :] - np.arange(rows)[:, None]
        numbers = self.relative[distance_buckets(distances, len(self.relative))]
        return np.asarray(np.moveaxis(numbers, -1, 0))

    def _arrays(self) -> list[tuple[str, Array]]:
        """Every array with the name of its place."""
        out = [("classifier", self.classifier), ("classifier_bias", self.classifier_bias)]
        if self.relative is not None:
            out.append(("relative", self.relative))
        for number, layer in enumerate(self.layers):
            out += [(f"layer {number} {name}", getattr(layer, name)) for name in MATRICES]
            out += [(f"layer {number} norm", root.coefficients) for root in layer.roots if root]
            if (own := layer.polynomial) is not None:
                terms = ("score_shift", "score_scale", "activation")
                out += [(f"layer {number} {name}", getattr(own, name)) for name in terms]
        return out

    @property
    def form(self) -> str:
        """``"the-x"``, ``"polynomial"`` or ``"normalised"``: which protocols can run them."""
        if self.layers[0].polynomial is None:
            return "the-x"
        return "normalised" if self._has_roots else "polynomial"

    @property
    def _has_roots(self) -> bool:
        return any(root is not None for layer in self.layers for root in layer.roots)

    @property
    def hidden(self) -> int:
        """Hidden size d."""
        return int(self.classifier.shape[1])

    @property
    def intermediate(self) -> int:
        """FFN size m."""
        return int(self.layers[0].up.shape[0])

    @property
    def labels(self) -> int:
        """Number of logits."""
        return int(self.classifier.shape[0])

    def fingerprint(self) -> str:
        """SHA-256 over sizes and values: names the model a plan was made for."""
        digest = hashlib.sha256(f"{self.heads}:{len(self.layers)}".encode())
        arrays = [getattr(layer, name) for layer in self.layers for name in MATRICES]
        for terms in (layer.polynomial for layer in self.layers):
            if terms is not None:
                digest.update(f"polynomial:{terms.power}:{terms.centred}".encode())
                arrays += [terms.score_shift, terms.score_scale, terms.activation]
        for place, root in enumerate(root for layer in self.layers for root in layer.roots):
            if root is not None:
                digest.update(f"root:{place}".encode())
                arrays += [root.coefficients, root.interval]
        for array in [*arrays, self.classifier, self.classifier_bias]:
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        if self.relative is not None:
            digest.update(f"relative:{self.relative.shape}".encode())
            digest.update(np.ascontiguousarray(self.relative, dtype="<f8").tobytes())
        if self.head != "cls":
            digest.update(f"head:{self.head}".encode())
        return digest.hexdigest()


def distance_buckets(distances: NDArray[Any], buckets: int) -> NDArray[np.int64]:
    """The distance bucket of each distance, a key's place minus its query's.

    Those of T5 and MPNet (Raffel et al. 2020, section 2.1; Song et al. 2020): the second half is of
    keys behind the query. Of either half the first half are for one distance each, the others for
    ranges whose borders grow by one factor up to :data:`FARTHEST`; the last one has no end.

    Args:
        distances: integers of any shape.
        buckets: how many there are, a multiple of 4.
    """
    half = buckets // 2
    found = np.searchsorted(_borders(buckets), np.abs(distances), side="right")
    return np.asarray(found + half * (np.asarray(distances) > 0), np.int64)


@cache
def _borders(buckets: int) -> tuple[int, ...]:
    """The least distances of all buckets of a half but the first, exactly."""
    one = buckets // 4
    borders, at = list(range(1, one + 1)), one
    for number in range(1, one):  # the least with (at / one)^one >= (FARTHEST / one)^number
        while at**one < one ** (one - number) * FARTHEST**number:
            at += 1
        borders.append(at)
    return tuple(borders)


def tensors_digest(facts: Sequence[Any], tensors: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """SHA-256 of named tensors as float32 numbers, and of what else decides a model's function.

    The same for float16 values and for the float32 values that they stand for.

    Args:
        facts: plain values.
        tensors: names and arrays of any float type, in the order of the names.

    Returns:
        32 hex digits.
    """
    digest = hashlib.sha256(json.dumps(list(facts)).encode())
    for name, tensor in tensors:
        digest.update(f"{name}:{tuple(tensor.shape)}:".encode())
        digest.update(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
    return digest.hexdigest()[:32]
