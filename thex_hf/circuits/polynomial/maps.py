"""The folded maps of a polynomial encoder, and the sizes at which its values are carried.

Every ciphertext carries about the same noise, so factors of a product should be of one size
and scores not small: the last layer's stream is carried divided by ``2**LAST_SHRINK``, its
queries and scores are stretched, and the values take the factors back; the [CLS] row that
reaches the head is carried divided by ``2**ROW_SHRINK``, and its form is stretched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thex_hf.circuits.affine import Affine
from thex_hf.weights import Array, LayerWeights, PolynomialTerms

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


def terms_of(layer: LayerWeights) -> PolynomialTerms:
    """The layer's polynomial terms, which :func:`.folding.fold_polynomial` has made sure of."""
    assert layer.polynomial is not None
    return layer.polynomial
