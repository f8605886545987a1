"""Fold everything that is linear in a polynomial encoder into the fewest plaintext maps."""

from __future__ import annotations

from thex_hf.circuits.polynomial.folding_attention import fold_attention
from thex_hf.circuits.polynomial.folding_feed_forward import (
    fold_cls_head,
    fold_feed_forward,
    fold_token_head,
)
from thex_hf.circuits.polynomial.maps import LAST_SHRINK, PolynomialLayers
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights


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
