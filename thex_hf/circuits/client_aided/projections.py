"""The linear maps of a layer: folded into plaintext matrices, and applied to ciphertexts.

Everything that costs no level is folded. The server never carries the hidden state ``x`` itself
but a *stream* ``v`` with ``x = scale * v + shift``: the affine LayerNorms (THE-X, section 3.1.3)
disappear into neighbouring weights. Within a layer, ``u = x + attention`` is kept before its affine
norm and the FFN's output is divided by that norm's scale, so no level is spent on either norm.

On ciphertexts each map consumes one level unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.ckks.packing.layout import Layout
from thex_hf.ckks.packing.matmul import fold_groups, sum_columns
from thex_hf.errors import PlanError
from thex_hf.weights import Array, EncoderWeights, LayerWeights

SMALLEST_SCALE = 1e-3
"""Of an affine norm: what is nearer zero is not divided by."""


@dataclass(frozen=True)
class FoldedLayer:
    """One layer's maps, acting on the stream."""

    query: Affine  # divided by sqrt(head size)
    key: Affine
    value: Affine
    output: Affine
    residual: Array  # (d,) factor on the stream
    up: Affine
    down: Affine  # to the next stream; in the last layer to the logits
    skip: Array | None  # last layer: (labels, d) from u to the logits of the same token


def fold(weights: EncoderWeights) -> tuple[FoldedLayer, ...]:
    """Fold all layers.

    Raises:
        PlanError: an affine norm's scale is too near zero to divide by.
    """
    scale, shift = np.ones(weights.hidden), np.zeros(weights.hidden)
    folded = []
    for index, layer in enumerate(weights.layers):
        last = index == len(weights.layers) - 1
        down, skip = _head(weights, layer) if last else (_down(layer, index), None)
        folded.append(_layer(weights, layer, scale, shift, down, skip))
        scale, shift = layer.output_scale * layer.attention_scale, layer.output_shift
    return tuple(folded)


def _layer(
    weights: EncoderWeights,
    layer: LayerWeights,
    scale: Array,
    shift: Array,
    down: Affine,
    skip: Array | None,
) -> FoldedLayer:
    root = np.sqrt(weights.hidden // weights.heads)
    return FoldedLayer(
        query=Affine(layer.query * scale / root, (layer.query @ shift + layer.query_bias) / root),
        key=Affine(layer.key * scale, layer.key @ shift),
        value=Affine(layer.value * scale, layer.value @ shift),
        output=Affine(layer.output, layer.output_bias + shift),
        residual=scale,
        up=Affine(
            layer.up * layer.attention_scale, layer.up @ layer.attention_shift + layer.up_bias
        ),
        down=down,
        skip=skip,
    )


def _down(layer: LayerWeights, index: int) -> Affine:
    smallest_scale(layer, index)
    gamma = layer.attention_scale
    return Affine(layer.down / gamma[:, None], (layer.down_bias + layer.attention_shift) / gamma)


def _head(weights: EncoderWeights, layer: LayerWeights) -> tuple[Affine, Array]:
    reader = weights.classifier * layer.output_scale
    inner = layer.attention_shift + layer.down_bias
    bias = reader @ inner + weights.classifier @ layer.output_shift + weights.classifier_bias
    return Affine(reader @ layer.down, bias), reader * layer.attention_scale


def smallest_scale(layer: LayerWeights, index: int) -> float:
    """The smallest magnitude in the scale of the affine norm after attention.

    Raises:
        PlanError: it is too near zero to divide by.
    """
    smallest = float(np.abs(layer.attention_scale).min())
    if smallest < SMALLEST_SCALE:
        raise PlanError(
            f"layer {index}: the affine norm after attention has a scale of {smallest:.1e}, at "
            f"least {SMALLEST_SCALE} is needed to fold it; convert the model again (thex-hf "
            f"convert keeps scales away from zero)"
        )
    return smallest


def query_and_value(
    run: Context, index: int, layer: FoldedLayer, stream: Handles
) -> tuple[Handles, Handles]:
    """Query pieces and value blocks in ``solo`` from the stream in ``dup``."""
    run.begin_stage("Q, K, V", index)
    inputs, solo = run.shape.stream("dup").maps(), run.shape.stream("solo").maps()
    query, value = run.apply(
        [
            Target(f"{index} query", layer.query, run.shape.piece_maps("solo")),
            Target(f"{index} value", layer.value, solo),
        ],
        inputs,
        stream,
    )
    return query, value


def skewed_key(run: Context, index: int, layer: FoldedLayer, stream: Handles) -> Handles:
    """Key blocks, skewed, in group 0, from the stream in ``skew-``."""
    inputs, solo = run.shape.stream("skew-").maps(), run.shape.stream("solo").maps()
    target = Target(f"{index} key", layer.key, solo)
    return run.apply([target], inputs, stream, skew=True)[0]


def cls_query(run: Context, index: int, layer: FoldedLayer, cls: Handles) -> Handles:
    """Query pieces of the [CLS] row in every column of group 0, from ``row``."""
    run.begin_stage("Q, K, V", index)
    target = Target(f"{index} query", layer.query, run.shape.piece_maps("edge"))
    return run.apply([target], run.shape.stream("row").maps(), cls)[0]


def key_beside_value(run: Context, index: int, layer: FoldedLayer, stream: Handles) -> Handles:
    """Key blocks in group 0 and value blocks in group 1, from the stream in ``dup``.

    Queries of the last layer are zero in group 1, so values never enter a score.
    """
    solo, back = run.shape.stream("solo").maps(), run.shape.stream("back").maps()
    outputs = [
        np.where(k >= 0, k, np.where(v >= 0, v + run.shape.hidden, -1))
        for k, v in zip(solo, back, strict=True)
    ]
    both = Affine(
        np.vstack([layer.key.weight, layer.value.weight]),
        np.concatenate([layer.key.bias, layer.value.bias]),
    )
    target = Target(f"{index} key and value", both, outputs)
    return run.apply([target], run.shape.stream("dup").maps(), stream)[0]


def attended(
    run: Context, index: int, layer: FoldedLayer, context: Handles, stream: Handles, kind: str
) -> Handles:
    """``scale * stream + output projection of context`` in layout ``kind``.

    One level of each; the two must end at the same level.
    """
    run.begin_stage("attention out", index)
    outputs = run.shape.stream(kind).maps()
    target = Target(f"{index} output", layer.output, outputs)
    mixed = run.apply([target], run.shape.piece_maps("dup"), context)[0]
    out = []
    for i, (a, b) in enumerate(zip(mixed, stream, strict=True)):
        block = i % len(outputs)
        kept = run.scale(f"{index} residual {block}", b, layer.residual, outputs[block])
        out.append(run.engine.add(a, run.engine.mod_switch(kept, run.engine.level(a))))
    return out


def ffn_in(run: Context, index: int, layer: FoldedLayer, stream: Handles, *, last: bool) -> Handles:
    """FFN pre-activations, from ``dup`` or, in the last layer, from ``row``."""
    run.begin_stage("FFN in", index)
    inputs = run.shape.stream("row" if last else "dup").maps()
    target = Target(f"{index} up", layer.up, run.shape.ffn(last=last).maps())
    return run.apply([target], inputs, stream)[0]


def ffn_out(run: Context, index: int, layer: FoldedLayer, wide: Handles) -> Handles:
    """FFN output in group 0 (group 1 holds waste), from ``split``."""
    run.begin_stage("FFN out", index)
    dup, solo = run.shape.stream("dup").maps(), run.shape.stream("solo").maps()
    shares = Affine(layer.down.weight, np.zeros_like(layer.down.bias))
    target = Target(f"{index} down", shares, dup)
    parts = run.apply([target], run.shape.ffn(last=False).maps(), wide)[0]
    out = []
    for i, a in enumerate(parts):
        whole = fold_groups(run.engine, run.shape.geometry, a)
        block = i % len(solo)
        out.append(run.add_bias(f"{index} down {block}", whole, layer.down.bias, solo[block]))
    return out


def token_logits(
    run: Context, index: int, layer: FoldedLayer, stream: Handles, wide: Handles
) -> Handles:
    """Logits of every token in ``solo`` from ``stream`` in ``dup`` and FFN values in ``split``.

    The shares of the two groups of ``split`` come out apart, each with zeros in the other group,
    so that one turn by T adds them and leaves nothing in any slot that holds no logit.
    """
    run.begin_stage("FFN out, classifier", index)
    assert layer.skip is not None
    solo, back = run.shape.token_logits("solo").maps(), run.shape.token_logits("back").maps()
    skip = Target(f"{index} skip", Affine(layer.skip, layer.down.bias), solo)
    short = run.apply([skip], run.shape.stream("dup").maps(), stream)[0]
    shares = Affine(layer.down.weight, np.zeros(run.shape.labels))
    targets = [Target(f"{index} down", shares, solo), Target(f"{index} down back", shares, back)]
    first, second = run.apply(targets, run.shape.ffn(last=False).maps(), wide)
    engine, tile = run.engine, run.shape.geometry.tile
    return [
        engine.add(a, engine.add(b, engine.rotate(c, tile)))
        for a, b, c in zip(short, first, second, strict=True)
    ]


def logits(run: Context, index: int, layer: FoldedLayer, row: Handles, wide: Handles) -> Handles:
    """Logits in ``cell`` from the [CLS] row in ``row`` and its FFN values in ``fan``.

    One level of the row, two of the FFN values: the second zeroes every slot that holds no
    logit.
    """
    run.begin_stage("FFN out, classifier", index)
    assert layer.skip is not None
    answer, fan = run.shape.logits, run.shape.ffn(last=True)
    cell = answer.maps()
    skip = Target(f"{index} skip", Affine(layer.skip, layer.down.bias), cell)
    short = run.apply([skip], run.shape.stream("row").maps(), row)[0]
    every = Layout(answer.geometry, "row", 1, answer.features).maps()
    shares = Affine(layer.down.weight, np.zeros(answer.features))
    parts = run.apply([Target(f"{index} down", shares, every)], fan.maps(), wide)[0]
    out = []
    for block, (a, b) in enumerate(zip(short, parts, strict=True)):
        whole = sum_columns(run.engine, answer.geometry, b, fan.fan)
        ones = np.ones(answer.features)
        out.append(run.engine.add(a, run.scale(f"{index} cell {block}", whole, ones, cell[block])))
    return out
