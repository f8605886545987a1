"""Power attention of the [CLS] query alone, in the last layer."""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.context import Context, Handles
from thex_hf.circuits.polynomial.maps import AttentionMaps
from thex_hf.circuits.polynomial.powers import double_real
from thex_hf.circuits.single.attention import attention_weights, masked_values
from thex_hf.ckks.packing.matmul import fill_groups, sum_columns, sum_features


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
