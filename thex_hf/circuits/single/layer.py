"""A layer of the circuit for one text: power attention of every query, and the feed-forward part.

Real and imaginary part of each handle belong to the two heads of a pair. Scores come out as
``[i, (i - f) mod T]`` in row ``f``; with values in ``skew-`` the context kernel reads them as they
are, so nothing is permuted between the two products. Their sums over giant steps do not depend on
each other and can be computed in parallel. The feed-forward part ends with the next layer's
stream in its packings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np

from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.circuits.polynomial.maps import AttentionMaps, FeedForward
from thex_hf.circuits.polynomial.powers import (
    POWER_LEVELS,
    double_real,
    multiply_parts,
    power,
    power_gain,
)
from thex_hf.ckks.engine import Handle
from thex_hf.ckks.packing import attention as kernels
from thex_hf.ckks.packing.layout import FeatureMap, Layout, first_group
from thex_hf.ckks.packing.matmul import fill_groups

SQUARES_LEVELS = 2


def queries(
    run: Context, name: str, maps: AttentionMaps, stream: Handles, source: str, kind: str,
    shrink: int = 0,
) -> list[Handles]:  # fmt: skip
    """What meets the keys, for each pair of heads, from layout ``source`` in layout ``kind``.

    Levels: 1. The scale ratio of the product that follows, and the ``shrink`` of the keys, are
    divided out.
    """
    run.begin_stage("queries", name)
    gain = run.engine.scale_ratio(run.engine.level(stream[0]) - 1) / 2**shrink
    outputs = run.shape.stream(kind).maps()
    targets = [
        Target(f"{name} query {p}", affine.divided_by(gain), outputs)
        for p, affine in enumerate(maps.query)
    ]
    return run.apply(targets, run.shape.stream(source).maps(), stream)


def attend(
    run: Context, name: str, maps: AttentionMaps, stream: Handles, skewed: Handles, mask: Handles
) -> Handles:
    """Attention of every query, projected and with its bias, in ``solo`` (group 1 is zero).

    Args:
        run: engine, cache and shape.
        name: names the plaintexts.
        maps: folded weights.
        stream: ``dup`` at level L.
        skewed: the same in ``run.shape.keys`` at L - 1.
        mask: ``mask / n`` in ``skew-``, one handle for each tile, at a level high enough.

    Levels: 4, 5 or 6 for powers 2, 4 and 6.
    """
    level = run.engine.level(stream[0]) - 1
    pairs, starts = run.in_parallel(
        lambda: flat(queries(run, name, maps, stream, "dup", "solo", run.shape.keys.shrink)),
        lambda: flat(_value_starts(run, name, maps, skewed, mask, level)),
    )
    count = len(maps.query)
    run.begin_stage("scores")
    scored = scores(run, split(pairs, count), skewed)
    weights = [
        [attention_weights(run, name, shift, maps.power, z) for z in pair]
        for shift, pair in zip(maps.shift, scored, strict=True)
    ]
    run.begin_stage("context")
    contexts = context(run, weights, split(starts, count))
    layout = run.shape.stream("solo")
    out = []
    for index, a in enumerate(contexts):
        block = index % layout.blocks
        feature_map = layout.maps()[block]
        out.append(
            run.add_bias(f"{name} out {block}", double_real(run.engine, a), maps.bias, feature_map)
        )
    return out


def _value_starts(
    run: Context, name: str, maps: AttentionMaps, skewed: Handles, mask: Handles, level: int
) -> list[Handles]:
    """Masked values of each pair, in both groups, turned to where the context starts."""
    engine, geometry = run.engine, run.shape.geometry
    return [
        [kernels.skewed_value_start(engine, geometry, fill_groups(engine, geometry, a)) for a in v]
        for v in masked_values(run, name, maps, skewed, mask, level, skew=True)
    ]


def masked_values(
    run: Context, name: str, maps: AttentionMaps, stream: Handles, mask: Handles, query_level: int,
    *, skew: bool,
) -> list[Handles]:  # fmt: skip
    """Masked values of each pair, at the level of the weights. Levels: 2.

    The scale ratios of the weights and of the two products that follow are divided out.
    """
    run.begin_stage("values", name)
    engine = run.engine
    scores_level = query_level - 1
    level = scores_level - POWER_LEVELS[maps.power]
    gain = power_gain(engine, scores_level, maps.power)
    gain *= (
        engine.scale_ratio(level + 1)
        * engine.scale_ratio(level)
        / 2 ** (run.shape.keys.shrink * skew)
    )
    source = [engine.mod_switch(a, level + 2) for a in stream]
    masks = [engine.mod_switch(a, level + 1) for a in mask]
    targets = [
        Target(f"{name} value {p}", affine.divided_by(gain), run.shape.stream("solo").maps())
        for p, affine in enumerate(maps.value)
    ]
    kind = "skew-" if skew else "dup"
    pairs = run.apply(targets, run.shape.stream(kind).maps(), source, skew=skew)
    blocks = run.shape.stream(kind).blocks
    return [
        [run.sum_products([engine.mul(a, masks[i // blocks])]) for i, a in enumerate(handles)]
        for handles in pairs
    ]


def attention_weights(
    run: Context, name: str, shift: complex, exponent: int, scores: Handle
) -> Handle:
    """``(score + shift)^p`` in group 0; see :func:`thex_hf.circuits.polynomial.powers.power`."""
    run.begin_stage("weights", name)
    feature_map = first_group(run.shape.geometry)
    shifted = run.add_bias(f"{name} shift {shift}", scores, np.array([shift]), feature_map)
    return power(run.engine, shifted, exponent, multiply_parts)[0]


def flat(lists: list[Handles]) -> Handles:
    """All handles of lists of equal length, for a task."""
    return [a for handles in lists for a in handles]


def split(handles: Handles, count: int) -> list[Handles]:
    """The ``count`` lists that :func:`flat` joined."""
    size = len(handles) // count
    return [handles[start : start + size] for start in range(0, len(handles), size)]


def scores(run: Context, queries: list[Handles], skewed: Handles) -> list[Handles]:
    """Scores of each pair, one handle for each query tile and key tile, in group 0.

    Args:
        run: engine and shape.
        queries: for each pair, in ``solo``.
        skewed: what they meet, for all pairs, in ``skew-``.

    Levels: 1.
    """
    tiles = run.shape.stream("dup").tiles
    sums = _in_parts(run, partial(_score_sums, run, queries, skewed), len(queries) * tiles**2)
    whole = [kernels.sum_windows(run.engine, run.shape.geometry, a) for a in sums]
    return [whole[start : start + tiles**2] for start in range(0, len(whole), tiles**2)]


def context(run: Context, weights: list[Handles], starts: list[Handles]) -> Handles:
    """Sum over pairs and keys of weight times value, for each query tile and block.

    Args:
        run: engine and shape.
        weights: for each pair, as :func:`scores` orders them.
        starts: for each pair, values through ``skewed_value_start``.

    Levels: 1.
    """
    layout = run.shape.stream("dup")
    count = layout.tiles * layout.blocks
    return _in_parts(run, partial(_context_sums, run, weights, starts), count)


def _in_parts(run: Context, sums: Callable[[range], Handles], count: int) -> Handles:
    """``count`` sums over all giant steps; ``sums`` gives their terms for some of the steps."""
    engine, geometry = run.engine, run.shape.geometry
    ranges = kernels.split_giant_steps(geometry, run.runner.processes)
    parts = run.in_parallel(*(partial(sums, giant_steps) for giant_steps in ranges))
    out = []
    for index in range(count):
        settled: Handles = []
        for giant_steps, part in zip(ranges, parts, strict=True):
            settled += part[index * len(giant_steps) : (index + 1) * len(giant_steps)]
        out.append(kernels.join(engine, geometry, settled))
    return out


def _score_sums(
    run: Context, queries: list[Handles], skewed: Handles, giant_steps: range
) -> Handles:
    engine, geometry, layout = run.engine, run.shape.geometry, run.shape.stream("dup")
    tiles, blocks = layout.tiles, layout.blocks
    rotated = [[kernels.feature_rotations(engine, geometry, a) for a in query] for query in queries]
    sums: dict[tuple[int, int, int], kernels.InnerSums] = defaultdict(dict)
    for index, key in enumerate(skewed):
        k, block = divmod(index, blocks)
        for b, a, rotated_key in kernels.key_rotations(engine, geometry, key, giant_steps):
            for pair, rotations in enumerate(rotated):
                for q in range(tiles):
                    left = rotations[q * blocks + block][a]
                    kernels.accumulate(engine, sums[pair, q, k], b, left, rotated_key)
    return [
        a for _, inner in sorted(sums.items()) for a in kernels.relinearise_rescale(engine, inner)
    ]


def _context_sums(
    run: Context, weights: list[Handles], starts: list[Handles], giant_steps: range
) -> Handles:
    engine, geometry, layout = run.engine, run.shape.geometry, run.shape.stream("dup")
    tiles, blocks = layout.tiles, layout.blocks
    sums: dict[tuple[int, int], kernels.InnerSums] = defaultdict(dict)
    for pair, start in zip(weights, starts, strict=True):
        for k in range(tiles):
            rotated = [
                kernels.feature_rotations(engine, geometry, pair[q * tiles + k])
                for q in range(tiles)
            ]
            for block in range(blocks):
                value = start[k * blocks + block]
                for b, a, rotated_value in kernels.skewed_value_rotations(
                    engine, geometry, value, giant_steps
                ):
                    for q in range(tiles):
                        kernels.accumulate(engine, sums[q, block], b, rotated[q][a], rotated_value)
    return [
        a for _, inner in sorted(sums.items()) for a in kernels.relinearise_rescale(engine, inner)
    ]


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
