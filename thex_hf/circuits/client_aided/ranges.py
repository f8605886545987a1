"""From calibrated ranges to the bits of values that the client sees or that are masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thex_hf.circuits.client_aided.folding import smallest_scale
from thex_hf.circuits.ranges import UNCALIBRATED, RangeBits, bits_of
from thex_hf.weights import EncoderWeights

KEYS = ("value", "layer_out", "scores", "ffn_pre")


def range_bits(weights: EncoderWeights, ranges: Sequence[Mapping[str, float]] | None) -> RangeBits:
    """Bits ``b`` such that each value stays below ``2**b``, twice the range seen.

    Args:
        weights: the encoder; the stream is carried divided by the attention norm's scale.
        ranges: for each layer the calibrated ``value``, ``layer_out``, ``scores`` and
            ``ffn_pre``; None if the checkpoint was not calibrated: then 64 is assumed for all.

    Raises:
        PlanError: an affine norm's scale is too near zero to divide by.
    """
    value, stream, shown = [], [0], []
    for index, layer in enumerate(weights.layers):
        seen = ranges[index] if ranges else dict.fromkeys(KEYS, UNCALIBRATED)
        value.append(bits_of(seen["value"]))
        if index < len(weights.layers) - 1:  # the last layer's stream is not carried on
            stream.append(bits_of(seen["layer_out"] / smallest_scale(layer, index)))
        shown.append(bits_of(max(seen["scores"], seen["ffn_pre"])))
    return RangeBits(tuple(value), tuple(stream), tuple(shown))
