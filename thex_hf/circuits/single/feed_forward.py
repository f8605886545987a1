"""Feed-forward part of a layer, and the next layer's stream in its packings."""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.circuits.polynomial.maps import FeedForward
from thex_hf.circuits.polynomial.powers import double_real, multiply_parts
from thex_hf.ckks.engine import Handle
from thex_hf.ckks.packing.layout import FeatureMap, Layout, first_group
from thex_hf.ckks.packing.matmul import fill_groups

SQUARES_LEVELS = 2


def squares(run: Context, name: str, ffn: FeedForward, stream: Handles) -> Handles:
    """FFN activations, before their constant, in complex ``split``; times :func:`squares_gain`.

    Args:
        run: engine, cache and shape.
        name: names the plaintexts.
        ffn: folded weights.
        stream: ``dup``, before the norm.

    Levels: :data:`SQUARES_LEVELS`.
    """
    run.begin_stage("FFN in, squares", name)
    target = Target(f"{name} up", ffn.up, hidden_layout(run).maps())
    hidden = run.apply([target], run.shape.stream("dup").maps(), stream)[0]
    return [multiply_parts(run.engine, a, a) for a in hidden]


def squares_gain(run: Context, hidden: Handles) -> float:
    """What the scale ratio multiplied :func:`squares` by."""
    return run.engine.scale_ratio(run.engine.level(hidden[0]) + 1)


def hidden_layout(run: Context) -> Layout:
    """Layout of the complex FFN values: half as many as there are real ones."""
    features = -(-run.shape.intermediate // 2)
    return Layout(run.shape.geometry, "split", run.shape.tokens, features)


def next_stream(
    run: Context, name: str, ffn: FeedForward, stream: Handles, hidden: Handles, *, whole: bool
) -> Handles:
    """The next layer's stream, from that before the norm and the FFN's squares. Levels: 1.

    Args:
        run: engine, cache and shape.
        name: names the plaintexts.
        ffn: folded weights.
        stream: ``dup``, at the level of ``hidden`` or above.
        hidden: from :func:`squares`.
        whole: the result is ``dup``; otherwise group 1 is waste.
    """
    run.begin_stage("FFN out", name)
    engine, geometry, dup = run.engine, run.shape.geometry, run.shape.stream("dup")
    down = ffn.down.divided_by(squares_gain(run, hidden))
    targets = [Target(f"{name} down", down, dup.maps())]
    if whole:
        targets.append(Target(f"{name} down turned", down, [_next_row(m) for m in dup.maps()]))
    results = run.apply(targets, hidden_layout(run).maps(), hidden)
    low = [engine.mod_switch(a, engine.level(hidden[0])) for a in stream]
    kept = keep(run, name, ffn, low)
    out = []
    for index, share in enumerate(results[0]):
        turned = results[1][index] if whole else share
        total = engine.add(share, engine.rotate(turned, geometry.tile))
        out.append(engine.add(double_real(engine, total), kept[index]))
    return out


def _next_row(feature_map: FeatureMap) -> FeatureMap:
    """Group 0 one row further down, so that one left turn by T swaps the groups row by row."""
    tile = feature_map.shape[1] // 2
    return np.hstack([np.roll(feature_map[:, :tile], 1, axis=0), feature_map[:, tile:]])


def keep(run: Context, name: str, ffn: FeedForward, stream: Handles) -> Handles:
    """The residual through both norms, with the biases of the whole step. Levels: 1."""
    maps = run.shape.stream("dup").maps()
    if not ffn.diagonal:
        return run.apply([Target(f"{name} keep", ffn.keep, maps)], maps, stream)[0]
    out = []
    for index, a in enumerate(stream):
        block = index % len(maps)
        scaled = run.scale(f"{name} keep {block}", a, np.diag(ffn.keep.weight), maps[block])
        out.append(run.add_bias(f"{name} keep {block}", scaled, ffn.keep.bias, maps[block]))
    return out


def skew(run: Context, stream: Handles) -> Handles:
    """``shape.keys`` from ``dup``, without the client. Levels: 1. Key switches: T each."""
    run.begin_stage("skew")
    engine, geometry = run.engine, run.shape.geometry
    rows = np.arange(geometry.features)[:, None]
    first = first_group(geometry)
    shrunk = np.array([2.0**-run.shape.keys.shrink])
    out = []
    for a in stream:
        total: Handle | None = None
        for turn in range(geometry.tile):
            a = engine.rotate(a, 1) if turn else a
            feature_map = np.where((-rows) % geometry.tile == turn, first, -1)
            part = run.scale_unrescaled(f"skew {turn}", a, shrunk, feature_map)
            total = part if total is None else engine.add(total, part)
        out.append(fill_groups(engine, geometry, engine.rescale(total)))
    return out
