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
        value.append(_bits(seen["value"]))
        stream.append(_bits(seen["layer_out"] / float(np.abs(layer.attention_scale).min())))
        shown.append(_bits(max(seen["scores"], seen["ffn_pre"])))
    return RangeBits(tuple(value), tuple(stream[: len(weights.layers)]), tuple(shown))


def _bits(largest: float) -> int:
    return max(0, math.ceil(math.log2(max(largest, 1e-9) * SAFETY)))
