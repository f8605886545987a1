"""The last layer: of [CLS] only, or of every token.

Where only [CLS] is read: its query, its attention, one quadratic form a label. Where every token
is, or their mean (:func:`head_logits`), the mask is encrypted, so the server cannot drop padded
tokens by itself. One product with the mask, a level more than the FFN takes, does it: after the
classifier for the logits of each token, before the last matrix for the mean, since that matrix is
then what clears the columns that a sum over tokens spoils.
"""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.circuits.polynomial.maps import AttentionMaps, FeedForward, Head
from thex_hf.circuits.polynomial.powers import double_real
from thex_hf.circuits.single.layer import (
    SQUARES_LEVELS,
    attention_weights,
    hidden_layout,
    masked_values,
    squares,
    squares_gain,
)
from thex_hf.ckks.engine import Handle
from thex_hf.ckks.packing.layout import FeatureMap
from thex_hf.ckks.packing.matmul import fill_groups, fold_groups, sum_columns, sum_features


def next_query_kept(
    run: Context, name: str, maps: AttentionMaps, ffn: FeedForward, stream: Handles
) -> Handles:
    """The residual's share of :func:`next_query`: for each pair its blocks.

    Arguments as there; it does not wait for the squares.
    """
    run.begin_stage("queries", name)
    engine, layout = run.engine, run.shape.stream("dup")
    level = engine.level(stream[0]) - SQUARES_LEVELS
    first_tile = [engine.mod_switch(a, level) for a in stream[: layout.blocks]]
    gain = engine.scale_ratio(level - 1)
    out: Handles = []
    for pair, query in enumerate(maps.query):
        through = Affine(query.weight @ ffn.keep.weight, query.weight @ ffn.keep.bias + query.bias)
        target = Target(f"{name} query {pair} keep", through.divided_by(gain), _cls_maps(run)[0])
        out += run.apply([target], layout.maps(), first_tile)[0]
    return out


def next_query(
    run: Context, name: str, maps: AttentionMaps, ffn: FeedForward, kept: Handles, hidden: Handles
) -> Handles:
    """The last layer's [CLS] queries straight from the layer before, one level earlier.

    Args:
        run: engine, cache and shape.
        name: names the plaintexts.
        maps: the last layer's.
        ffn: the layer before.
        kept: from :func:`next_query_kept`.
        hidden: from :func:`squares`.

    Returns:
        For each pair its blocks, in every column of group 0; group 1 is waste. Levels: 1.
    """
    run.begin_stage("queries", name)
    engine, width = run.engine, len(hidden_layout(run).maps())
    gain = engine.scale_ratio(engine.level(hidden[0]) - 1) * squares_gain(run, hidden)
    out: Handles = []
    for pair, query in enumerate(maps.query):
        heads = [
            Target(
                f"{name} query {pair} down {part}",
                Affine(weight @ ffn.down.weight, np.zeros(len(weight))).divided_by(gain),
                _cls_maps(run)[1],
            )
            for part, weight in (("real", query.weight.real), ("imaginary", query.weight.imag))
        ]
        real, imaginary = run.apply(heads, hidden_layout(run).maps(), hidden[:width])
        kept_blocks = kept[pair * len(real) : (pair + 1) * len(real)]
        out += [
            _broadcast_column(
                run, engine.add(a, fold_groups(engine, run.shape.geometry, _join(run, b, c)))
            )
            for a, b, c in zip(kept_blocks, real, imaginary, strict=True)
        ]
    return out


def _join(run: Context, real: Handle, imaginary: Handle) -> Handle:
    """Two handles whose real parts count, as real and imaginary part of one."""
    engine = run.engine
    return engine.add(double_real(engine, real), engine.times_i(double_real(engine, imaginary)))


def _cls_maps(run: Context) -> tuple[list[FeatureMap], list[FeatureMap]]:
    """The stream's feature maps with [CLS] only: in column 0, and in column 0 of both groups."""
    first, both = [], []
    for feature_map in run.shape.stream("dup").maps():
        columns = np.arange(feature_map.shape[1])
        first.append(np.where(columns == 0, feature_map, -1))
        both.append(np.where(columns % run.shape.geometry.tile == 0, feature_map, -1))
    return first, both


def _broadcast_column(run: Context, a: Handle) -> Handle:
    """Column 0 in every column of group 0. Columns 1 to T - 1 must be zero; group 1 is waste."""
    geometry = run.shape.geometry
    moved = run.engine.rotate(run.engine.rotate(a, -geometry.tile), 1)
    return sum_columns(run.engine, geometry, moved, geometry.tile)


def attend_cls(
    run: Context, name: str, maps: AttentionMaps, query: list[Handles], stream: Handles,
    values: list[Handles],
) -> Handles:  # fmt: skip
    """``x + attention`` of the [CLS] row, with its bias, in ``edge``: every column of group 0.

    Args:
        run: engine, cache and shape.
        name: names the plaintexts.
        maps: folded weights.
        query: for each pair one handle a block, in every column of group 0, at level L.
        stream: ``dup`` (group 0 is enough) at L or above.
        values: from :func:`cls_values`.

    Levels: 3, 4 or 5 from L. Group 1 of the result is waste.
    """
    engine, geometry, layout = run.engine, run.shape.geometry, run.shape.stream("edge")
    weights = _cls_weights(run, name, maps, query, stream)
    run.begin_stage("context")
    level = engine.level(weights[0][0])
    out = []
    for block, feature_map in enumerate(layout.maps()):
        terms = [
            engine.mul(p, v)
            for pair, value in zip(weights, values, strict=True)
            for p, v in zip(pair, value[block :: layout.blocks], strict=True)
        ]
        first = feature_map.copy()
        first[:, 1:] = -1  # the [CLS] row of the stream stands in column 0
        residual = engine.mod_switch(stream[block], level)
        halves = np.full(run.shape.hidden, maps.keep / 2)  # the real part doubles
        total = engine.add(
            run.sum_products(terms), run.scale(f"{name} cls {block}", residual, halves, first)
        )
        total = fill_groups(engine, geometry, total)
        total = double_real(engine, sum_columns(engine, geometry, total, geometry.tile))
        out.append(run.add_bias(f"{name} out {block}", total, maps.bias, feature_map))
    return out


def cls_values(
    run: Context, name: str, maps: AttentionMaps, stream: Handles, mask: Handles, level: int
) -> list[Handles]:
    """Masked values of each pair for :func:`attend_cls`.

    Args:
        run: engine, cache and shape.
        name: names the plaintexts.
        maps: folded weights.
        stream: ``dup`` (group 0 is enough), at ``level`` or above.
        mask: ``mask / n`` in ``solo``, one handle for each tile, at a level high enough.
        level: that of the queries.
    """
    return masked_values(run, name, maps, stream, mask, level, skew=False)


def _cls_weights(
    run: Context, name: str, maps: AttentionMaps, query: list[Handles], stream: Handles
) -> list[Handles]:
    """For each pair the [CLS] row's weights, one handle a tile."""
    engine, blocks = run.engine, run.shape.stream("dup").blocks
    level = engine.level(query[0][0])
    keys = [engine.mod_switch(a, level) for a in stream]
    weights: list[Handles] = []
    for shift, pair_query in zip(maps.shift, query, strict=True):
        weights.append([])
        for start in range(0, len(keys), blocks):
            run.begin_stage("scores", name)
            tile = keys[start : start + blocks]
            terms = [engine.mul(a, b) for a, b in zip(pair_query, tile, strict=True)]
            score = sum_features(engine, run.shape.geometry, run.sum_products(terms))
            weights[-1].append(attention_weights(run, name, shift, maps.power, score))
    return weights


def logits(run: Context, head: Head, row: Handles) -> Handles:
    """Logits in ``bar`` from the [CLS] row in ``edge`` before the last norms; all else is zero.

    Levels: 2.
    """
    run.begin_stage("FFN, classifier")
    engine, geometry, answer = run.engine, run.shape.geometry, run.shape.bar
    gain = engine.scale_ratio(engine.level(row[0]) - 1)
    size, rows = run.shape.hidden, run.shape.stream("edge")
    outputs = [
        np.where((label >= 0) & (feature >= 0), label * size + feature, -1)
        for label in answer.maps()
        for feature in rows.maps()
    ]
    forms = run.apply([Target("form", head.form.divided_by(gain), outputs)], rows.maps(), row)[0]
    low = [engine.mod_switch(a, engine.level(forms[0])) for a in row]
    out = []
    for index, feature_map in enumerate(answer.maps()):
        label_forms = forms[index * rows.blocks : (index + 1) * rows.blocks]
        products = [engine.mul(a, b) for a, b in zip(label_forms, low, strict=True)]
        total = sum_features(engine, geometry, run.sum_products(products))
        out.append(run.add_bias(f"answer {index}", total, head.bias, feature_map))
    return out


def head_logits(run: Context, head: FeedForward, stream: Handles, mask: Handles) -> Handles:
    """Logits in the layout of the answer; every slot that holds none is zero.

    Args:
        run: engine, cache and shape.
        head: last FFN and classifier.
        stream: ``dup``, before the norm.
        mask: one handle for each tile: for ``mean`` the ``mask / n`` in ``dup`` at the level of
            the squares, for ``tokens`` the mask in ``solo``, one level lower.

    Levels: 4.
    """
    hidden = squares(run, "head", head, stream)
    level = run.engine.level(hidden[0])
    low = [run.engine.mod_switch(a, level) for a in stream]
    run.begin_stage("FFN out, classifier")
    read = _mean if run.shape.head == "mean" else _tokens
    return read(run, head, hidden, low, mask)


def _tokens(
    run: Context, head: FeedForward, hidden: Handles, stream: Handles, mask: Handles
) -> Handles:
    """Logits of true tokens in ``solo``. Levels: 2."""
    engine, solo = run.engine, run.shape.token_logits("solo")
    gain = engine.scale_ratio(engine.level(hidden[0]) - 1)
    down = head.down.divided_by(squares_gain(run, hidden) * gain)
    maps = solo.maps(), run.shape.token_logits("back").maps()
    logits = _classify(run, down, head.keep.divided_by(gain), hidden, stream, *maps)
    return [
        run.sum_products([engine.mul(a, mask[index // solo.blocks])])
        for index, a in enumerate(logits)
    ]


def _mean(
    run: Context, head: FeedForward, hidden: Handles, stream: Handles, mask: Handles
) -> Handles:
    """Logits of the mean over true tokens in ``cell``. Levels: 2."""
    gain = run.engine.scale_ratio(run.engine.level(hidden[0]))
    down = head.down.divided_by(squares_gain(run, hidden) * gain)
    keep = Affine(head.keep.weight / gain, head.keep.bias)  # the shares of all tokens make one
    tile, cell = run.shape.geometry.tile, run.shape.logits.maps()
    beside = [
        np.roll(feature_map, tile, axis=1) for feature_map in cell
    ]  # the first column of group 1
    means = _over_tokens(run, hidden, mask), _over_tokens(run, stream, mask)
    return _classify(run, down, keep, *means, cell, beside)


def _over_tokens(run: Context, handles: Handles, mask: Handles) -> Handles:
    """Mask and sum over all tokens, for each block; right in the first column of each group.

    Levels: 1. The other columns are waste.
    """
    geometry, blocks = run.shape.geometry, len(handles) // len(mask)
    out = []
    for block in range(blocks):
        tiles = handles[block::blocks]
        total = run.sum_products([run.engine.mul(a, m) for a, m in zip(tiles, mask, strict=True)])
        out.append(sum_columns(run.engine, geometry, total, geometry.tile))
    return out


def _classify(
    run: Context,
    down: Affine,
    keep: Affine,
    hidden: Handles,
    stream: Handles,
    first: list[FeatureMap],
    second: list[FeatureMap],
) -> Handles:
    """``down`` of the squares and ``keep`` of the stream, in the layout of ``first``. Levels: 1.

    ``split`` has features in both groups. Their shares come out apart, those of group 1 in the
    layout of ``second``, which one left turn by T moves onto ``first``: nothing else is left.
    """
    engine = run.engine
    targets = [Target("head down", down, first), Target("head down back", down, second)]
    shares, turned = run.apply(targets, hidden_layout(run).maps(), hidden)
    kept = run.apply([Target("head keep", keep, first)], run.shape.stream("dup").maps(), stream)[0]
    out = []
    for a, b, c in zip(shares, turned, kept, strict=True):
        total = engine.add(a, engine.rotate(b, run.shape.geometry.tile))
        out.append(engine.add(double_real(engine, total), c))
    return out
