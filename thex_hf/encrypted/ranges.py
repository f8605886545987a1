"""From calibrated ranges to the bits that masks must hide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from thex_hf.encrypted.context import RangeBits
from thex_hf.weights import EncoderWeights

SAFETY = 2.0  # unseen texts may exceed what calibration saw
UNCALIBRATED = 64.0
KEYS = ("value", "layer_out", "scores", "ffn_pre")


def range_bits(weights: EncoderWeights, ranges: Sequence[Mapping[str, float]] | None) -> RangeBits:
    """Bits ``b`` such that each value stays below ``2**b``, twice the range seen.

    Args:
        weights: the encoder; the stream is carried divided by the attention norm's scale.
        ranges: for each layer the calibrated ``value``, ``layer_out``, ``scores`` and
            ``ffn_pre``; None if the checkpoint was not calibrated: then 64 is assumed for all.
    """
    value, stream, shown = [], [0], []
    for index, layer in enumerate(weights.layers):
        seen = ranges[index] if ranges else dict.fromkeys(KEYS, UNCALIBRATED)
        value.append(bits_of(seen["value"]))
        stream.append(bits_of(seen["layer_out"] / float(np.abs(layer.attention_scale).min())))
        shown.append(bits_of(max(seen["scores"], seen["ffn_pre"])))
    return RangeBits(tuple(value), tuple(stream[: len(weights.layers)]), tuple(shown))


def bits_of(largest: float) -> int:
    """Bits that hold twice the largest value seen."""
    return max(0, math.ceil(math.log2(max(largest, 1e-9) * SAFETY)))
