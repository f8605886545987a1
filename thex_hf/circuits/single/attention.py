"""Power attention on ciphertexts: every query, or [CLS] only.

Real and imaginary part of each handle belong to the two heads of a pair.

Scores come out as ``[i, (i - f) mod T]`` in row ``f``; with values in ``skew-`` the context
kernel reads them as they are, so nothing is permuted between the two
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np

from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.circuits.polynomial.folding import AttentionMaps
from thex_hf.circuits.polynomial.powers import (
    POWER_LEVELS,
    double_real,
    multiply_parts,
    power,
    power_gain,
)
from thex_hf.ckks.engine import Handle
from thex_hf.ckks.packing import attention as kernels
from thex_hf.ckks.packing.geometry import Geometry
from thex_hf.ckks.packing.layout import Map
from thex_hf.ckks.packing.matmul import fill_groups, sum_columns, sum_features


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
        Target(f"{name} query {p}", affine.over(gain), outputs)
        for p, affine in enumerate(maps.query)
    ]
    return run.apply(targets, run.shape.stream(source).maps(), stream)


def attend(
    run: Context, name: str, maps: AttentionMaps, stream: Handles, skewed: Handles, mask: Handles
) -> Handles:
    """Attention of every query, projected and with its bias, in ``solo`` (group 1 is zero).

    Args:
        run: engine, store and shape.
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
    met = scores(run, split(pairs, count), skewed)
    weights = [
        [_powers(run, name, shift, maps.power, z) for z in pair]
        for shift, pair in zip(maps.shift, met, strict=True)
    ]
    run.begin_stage("context")
    contexts = context(run, weights, split(starts, count))
    layout = run.shape.stream("solo")
    out = []
    for index, a in enumerate(contexts):
        block = index % layout.blocks
        held = layout.maps()[block]
        out.append(run.add_bias(f"{name} out {block}", double_real(run.engine, a), maps.bias, held))
    return out


def attend_cls(
    run: Context, name: str, maps: AttentionMaps, query: list[Handles], stream: Handles,
    values: list[Handles],
) -> Handles:  # fmt: skip
    """``x + attention`` of the [CLS] row, with its bias, in ``edge``: every column of group 0.

    Args:
        run: engine, store and shape.
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
    for block, held in enumerate(layout.maps()):
        terms = [
            engine.mul(p, v)
            for pair, value in zip(weights, values, strict=True)
            for p, v in zip(pair, value[block :: layout.blocks], strict=True)
        ]
        first = held.copy()
        first[:, 1:] = -1  # the [CLS] row of the stream stands in column 0
        own = engine.mod_switch(stream[block], level)
        halves = np.full(run.shape.hidden, maps.keep / 2)  # the real part doubles
        total = engine.add(
            run.sum_products(terms), run.scale(f"{name} cls {block}", own, halves, first)
        )
        total = fill_groups(engine, geometry, total)
        total = double_real(engine, sum_columns(engine, geometry, total, geometry.tile))
        out.append(run.add_bias(f"{name} out {block}", total, maps.bias, held))
    return out


def cls_values(
    run: Context, name: str, maps: AttentionMaps, stream: Handles, mask: Handles, level: int
) -> list[Handles]:
    """Masked values of each pair for :func:`attend_cls`.

    Args:
        run: engine, store and shape.
        name: names the plaintexts.
        maps: folded weights.
        stream: ``dup`` (group 0 is enough), at ``level`` or above.
        mask: ``mask / n`` in ``solo``, one handle for each tile, at a level high enough.
        level: that of the queries.
    """
    return _values(run, name, maps, stream, mask, level, skew=False)


def _cls_weights(
    run: Context, name: str, maps: AttentionMaps, query: list[Handles], stream: Handles
) -> list[Handles]:
    """For each pair the [CLS] row's weights, one handle a tile."""
    engine, blocks = run.engine, run.shape.stream("dup").blocks
    level = engine.level(query[0][0])
    keys = [engine.mod_switch(a, level) for a in stream]
    weights: list[Handles] = []
    for shift, own in zip(maps.shift, query, strict=True):
        weights.append([])
        for start in range(0, len(keys), blocks):
            run.begin_stage("scores", name)
            tile = keys[start : start + blocks]
            terms = [engine.mul(a, b) for a, b in zip(own, tile, strict=True)]
            score = sum_features(engine, run.shape.geometry, run.sum_products(terms))
            weights[-1].append(_powers(run, name, shift, maps.power, score))
    return weights


def _value_starts(
    run: Context, name: str, maps: AttentionMaps, skewed: Handles, mask: Handles, level: int
) -> list[Handles]:
    """Masked values of each pair, in both groups, turned to where the context starts."""
    engine, geometry = run.engine, run.shape.geometry
    return [
        [kernels.skewed_value_start(engine, geometry, fill_groups(engine, geometry, a)) for a in v]
        for v in _values(run, name, maps, skewed, mask, level, skew=True)
    ]


def _values(
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
        Target(f"{name} value {p}", affine.over(gain), run.shape.stream("solo").maps())
        for p, affine in enumerate(maps.value)
    ]
    kind = "skew-" if skew else "dup"
    pairs = run.apply(targets, run.shape.stream(kind).maps(), source, skew=skew)
    blocks = run.shape.stream(kind).blocks
    return [
        [run.sum_products([engine.mul(a, masks[i // blocks])]) for i, a in enumerate(handles)]
        for handles in pairs
    ]


def _powers(run: Context, name: str, shift: complex, exponent: int, scores: Handle) -> Handle:
    """``(score + shift)^p`` in group 0; see :func:`thex_hf.circuits.polynomial.powers.power`."""
    run.begin_stage("weights", name)
    held = first_group(run.shape.geometry)
    shifted = run.add_bias(f"{name} shift {shift}", scores, np.array([shift]), held)
    return power(run.engine, shifted, exponent, multiply_parts)[0]


def flat(lists: list[Handles]) -> Handles:
    """All handles of lists of equal length, for a task."""
    return [a for handles in lists for a in handles]


def split(handles: Handles, count: int) -> list[Handles]:
    """The ``count`` lists that :func:`flat` joined."""
    size = len(handles) // count
    return [handles[start : start + size] for start in range(0, len(handles), size)]


def first_group(geometry: Geometry) -> Map:
    """Shape ``(F, C)``: 0 in group 0, -1 in group 1."""
    columns = np.where(np.arange(geometry.columns) < geometry.tile, 0, -1)
    return np.broadcast_to(columns, (geometry.features, geometry.columns)).copy()


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
    ranges = kernels.giant_parts(geometry, run.runner.processes)
    parts = run.in_parallel(*(partial(sums, giants) for giants in ranges))
    out = []
    for index in range(count):
        settled: Handles = []
        for giants, part in zip(ranges, parts, strict=True):
            settled += part[index * len(giants) : (index + 1) * len(giants)]
        out.append(kernels.join(engine, geometry, settled))
    return out


def _score_sums(run: Context, queries: list[Handles], skewed: Handles, giants: range) -> Handles:
    engine, geometry, layout = run.engine, run.shape.geometry, run.shape.stream("dup")
    tiles, blocks = layout.tiles, layout.blocks
    turned = [[kernels.feature_turns(engine, geometry, a) for a in query] for query in queries]
    sums: dict[tuple[int, int, int], kernels.Partial] = defaultdict(dict)
    for index, key in enumerate(skewed):
        k, block = divmod(index, blocks)
        for b, a, turned_key in kernels.key_turns(engine, geometry, key, giants):
            for pair, turns in enumerate(turned):
                for q in range(tiles):
                    left = turns[q * blocks + block][a]
                    kernels.accumulate(engine, sums[pair, q, k], b, left, turned_key)
    return [a for _, inner in sorted(sums.items()) for a in kernels.settle(engine, inner)]


def _context_sums(
    run: Context, weights: list[Handles], starts: list[Handles], giants: range
) -> Handles:
    engine, geometry, layout = run.engine, run.shape.geometry, run.shape.stream("dup")
    tiles, blocks = layout.tiles, layout.blocks
    sums: dict[tuple[int, int], kernels.Partial] = defaultdict(dict)
    for pair, start in zip(weights, starts, strict=True):
        for k in range(tiles):
            turned = [
                kernels.feature_turns(engine, geometry, pair[q * tiles + k]) for q in range(tiles)
            ]
            for block in range(blocks):
                value = start[k * blocks + block]
                for b, a, turned_value in kernels.skewed_value_turns(
                    engine, geometry, value, giants
                ):
                    for q in range(tiles):
                        kernels.accumulate(engine, sums[q, block], b, turned[q][a], turned_value)
    return [a for _, inner in sorted(sums.items()) for a in kernels.settle(engine, inner)]
