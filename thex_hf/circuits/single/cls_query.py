"""The last layer's [CLS] queries straight from the layer before it, a level earlier."""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.circuits.polynomial.maps import AttentionMaps, FeedForward
from thex_hf.circuits.polynomial.powers import double_real
from thex_hf.circuits.single.feed_forward import SQUARES_LEVELS, hidden_layout, squares_gain
from thex_hf.ckks.engine import Handle
from thex_hf.ckks.packing.layout import FeatureMap
from thex_hf.ckks.packing.matmul import fold_groups, sum_columns


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
