"""A THE-X encoder as linear maps on encrypted integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thex_hf.concrete.quantise import Block, Frame, Linear, Quantiser, block, linear
from thex_hf.errors import PlanError
from thex_hf.weights import Array, EncoderWeights, LayerWeights

INPUT_BITS = 10
WEIGHT_BITS = 8
MARGIN = 1.25
"""By how much unseen texts may exceed the calibrated ranges before values are clipped."""

BLOCK_INPUT_BITS = 7
BLOCK_BITS = (6, 5, 6)
"""Of the first weights, the table, and the second weights of a block with ReLU on the server."""


@dataclass(frozen=True)
class LayerMaps:
    """The maps of a layer, in order; ``query`` is apart if only one row asks.

    ``keys`` maps the stream to queries, keys and values, or to keys and values alone. ``output``
    takes context and stream, ``up`` what comes of it, ``down`` the rectified values and that again;
    in the last layer ``down`` gives the logits. Without ``up``, ``down`` is a block that rectifies
    by itself.
    """

    keys: Linear
    query: Linear | None
    output: Linear
    up: Linear | None
    down: Linear | Block

    def all(self) -> tuple[Linear | Block, ...]:
        """All maps, in the order of their use."""
        every = (self.keys, self.query, self.output, self.up, self.down)
        return tuple(map_ for map_ in every if map_ is not None)


@dataclass(frozen=True)
class LayerFrames:
    """What the client knows of a layer; see :class:`LayerMaps`."""

    keys: Frame
    query: Frame | None
    output: Frame
    up: Frame | None
    down: Frame


def frames(maps: LayerMaps) -> LayerFrames:
    """A layer without its weights."""
    query = None if maps.query is None else maps.query.frame
    up = None if maps.up is None else maps.up.frame
    return LayerFrames(maps.keys.frame, query, maps.output.frame, up, maps.down.frame)


@dataclass(frozen=True)
class Bits:
    """How fine the integers are.

    Args:
        inputs: of every encrypted integer.
        weights: of the largest weight of a map.
        relu: ``server`` to rectify there where it fits, which is the one row of the last layer.
    """

    inputs: int = INPUT_BITS
    weights: int = WEIGHT_BITS
    relu: str = "client"

    def over(self, largest: float) -> Quantiser:
        """Integers for values of up to ``largest`` in the calibration."""
        return Quantiser.over(MARGIN * largest, self.inputs)


def encoder_maps(
    weights: EncoderWeights,
    ranges: Sequence[Mapping[str, float]],
    tokens: int,
    bits: Bits = Bits(),
) -> tuple[LayerMaps, ...]:
    """Quantise every linear map of an encoder for texts of ``tokens`` padded tokens.

    The affine norms and all biases are part of the maps, so that weights stay with the server.

    Args:
        weights: of a model in THE-X form that classifies by ``[CLS]``.
        ranges: calibrated, for each layer, see :func:`thex_hf.modeling.calibrate.measure_ranges`.
        tokens: rows of every map but those of the last layer behind its keys.
        bits: how fine, and where ReLU is.

    Raises:
        PlanError: a model of another form or head.
    """
    if weights.form != "the-x" or weights.head != "cls":
        raise PlanError(
            "backend 'concrete' runs models of the THE-X form that classify by [CLS]; this one is "
            f"of the {weights.form} form and reads {weights.head!r}; use backend 'seal'"
        )
    out = []
    for index, layer in enumerate(weights.layers):
        last = index == len(weights.layers) - 1
        rows = (tokens, 1 if last else tokens)
        names = [f"layer-{index}-{count}-rows-" for count in rows]
        keys, query, output = _attention(names, weights, layer, ranges[index], rows, bits)
        ending = _ending(weights, index, layer)
        up: Linear | None
        down: Linear | Block
        if last and bits.relu == "server":
            up, down = None, _block(names[1], layer, ranges[index], ending)
        else:
            up, down = _ffn(names[1], layer, ranges[index], rows[1], ending, bits)
        out.append(LayerMaps(keys, query, output, up, down))
    return tuple(out)


def _attention(
    names: Sequence[str],
    weights: EncoderWeights,
    layer: LayerWeights,
    seen: Mapping[str, float],
    rows: tuple[int, int],
    bits: Bits,
) -> tuple[Linear, Linear | None, Linear]:
    stream, context = bits.over(seen["stream_in"]), bits.over(seen["value"])
    root = np.sqrt(weights.hidden // weights.heads)
    nothing = np.zeros(2 * weights.hidden)
    asked = layer.query / root, layer.query_bias / root
    matrix, bias = np.concatenate([layer.key, layer.value]), nothing
    many, few = rows
    query = None
    if many == few:
        matrix, bias = np.concatenate([asked[0], matrix]), np.concatenate([asked[1], nothing])
    else:
        query = linear(f"{names[1]}query", few, [(asked[0], stream)], asked[1], bits.weights)
    keys = linear(f"{names[0]}keys", many, [(matrix, stream)], bias, bits.weights)
    parts = [(layer.output, context), (np.eye(weights.hidden), stream)]
    return keys, query, linear(f"{names[1]}output", few, parts, layer.output_bias, bits.weights)


def _ffn(
    names: str,
    layer: LayerWeights,
    seen: Mapping[str, float],
    rows: int,
    ending: tuple[Array, Array],
    bits: Bits,
) -> tuple[Linear, Linear]:
    """The two maps around a ReLU of the client."""
    inner, active = bits.over(seen["attention_out"]), bits.over(seen["ffn_pre"])
    matrix, bias = _up(layer)
    gain, shift = ending
    parts = [(gain @ layer.down, active), (gain * layer.attention_scale, inner)]
    shift = gain @ (layer.attention_shift + layer.down_bias) + shift
    return (
        linear(f"{names}up", rows, [(matrix, inner)], bias, bits.weights),
        linear(f"{names}down", rows, parts, shift, bits.weights),
    )


def _block(
    names: str, layer: LayerWeights, seen: Mapping[str, float], ending: tuple[Array, Array]
) -> Block:
    """Both maps and the ReLU between them, for one row."""
    gain, shift = ending
    shift = gain @ (layer.attention_shift + layer.down_bias) + shift
    return block(
        f"{names}block",
        1,
        Quantiser.over(MARGIN * seen["attention_out"], BLOCK_INPUT_BITS),
        _up(layer),
        (gain @ layer.down, gain * layer.attention_scale, shift),
        MARGIN * seen["ffn_pre"],
        BLOCK_BITS,
    )


def _up(layer: LayerWeights) -> tuple[Array, Array]:
    """The first map of a feed-forward part, the affine norm before it included."""
    return layer.up * layer.attention_scale, layer.up @ layer.attention_shift + layer.up_bias


def _ending(weights: EncoderWeights, index: int, layer: LayerWeights) -> tuple[Array, Array]:
    """What follows the second sum of a layer: its norm, and in the last layer the classifier.

    Returns:
        A matrix ``(outputs, d)`` and a vector ``(outputs,)``.
    """
    if index < len(weights.layers) - 1:
        return np.diag(layer.output_scale), layer.output_shift
    reader = weights.classifier * layer.output_scale
    return reader, weights.classifier @ layer.output_shift + weights.classifier_bias
