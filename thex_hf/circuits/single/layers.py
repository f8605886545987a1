"""Feed-forward part, head, and what turns one layer's end into the next one's start."""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.circuits.folding import Affine
from thex_hf.circuits.polynomial.folding import AttentionMaps, FeedForward, Head
from thex_hf.circuits.polynomial.powers import double_real, multiply_parts
from thex_hf.circuits.single.attention import first_group
from thex_hf.ckks.engine import Handle
from thex_hf.ckks.packing.layout import Layout, Map
from thex_hf.ckks.packing.matmul import fill_groups, fold_groups, sum_columns, sum_features

SQUARES_LEVELS = 2


def squares(run: Context, name: str, ffn: FeedForward, stream: Handles) -> Handles:
    """FFN activations, before their constant, in complex ``split``; times :func:`squares_gain`.

    Args:
        run: engine, store and shape.
        name: names the plaintexts.
        ffn: folded weights.
        stream: ``dup``, before the norm.

    Levels: :data:`SQUARES_LEVELS`.
    """
    run.begin_stage("FFN in, squares", name)
    target = Target(f"{name} up", ffn.up, wide(run).maps())
    hidden = run.apply([target], run.shape.stream("dup").maps(), stream)[0]
    return [multiply_parts(run.engine, a, a) for a in hidden]


def squares_gain(run: Context, hidden: Handles) -> float:
    """What the scale ratio multiplied :func:`squares` by."""
    return run.engine.scale_ratio(run.engine.level(hidden[0]) + 1)


def wide(run: Context) -> Layout:
    """Layout of the complex FFN values: half as many as there are real ones."""
    features = -(-run.shape.intermediate // 2)
    return Layout(run.shape.geometry, "split", run.shape.tokens, features)


def next_stream(
    run: Context, name: str, ffn: FeedForward, stream: Handles, hidden: Handles, *, whole: bool
) -> Handles:
    """The next layer's stream, from that before the norm and the FFN's squares. Levels: 1.

    Args:
        run: engine, store and shape.
        name: names the plaintexts.
        ffn: folded weights.
        stream: ``dup``, at the level of ``hidden`` or above.
        hidden: from :func:`squares`.
        whole: the result is ``dup``; otherwise group 1 is waste.
    """
    run.begin_stage("FFN out", name)
    engine, geometry, dup = run.engine, run.shape.geometry, run.shape.stream("dup")
    down = ffn.down.over(squares_gain(run, hidden))
    targets = [Target(f"{name} down", down, dup.maps())]
    if whole:
        targets.append(Target(f"{name} down turned", down, [_turned(m) for m in dup.maps()]))
    results = run.apply(targets, wide(run).maps(), hidden)
    low = [engine.mod_switch(a, engine.level(hidden[0])) for a in stream]
    kept = keep(run, name, ffn, low)
    out = []
    for index, share in enumerate(results[0]):
        turned = results[1][index] if whole else share
        total = engine.add(share, engine.rotate(turned, geometry.tile))
        out.append(engine.add(double_real(engine, total), kept[index]))
    return out


def _turned(held: Map) -> Map:
    """Group 0 one row further down, so that one left turn by T swaps the groups row by row."""
    tile = held.shape[1] // 2
    return np.hstack([np.roll(held[:, :tile], 1, axis=0), held[:, tile:]])


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


def next_query_kept(
    run: Context, name: str, maps: AttentionMaps, ffn: FeedForward, stream: Handles
) -> Handles:
    """The residual's share of :func:`next_query`: for each pair its blocks.

    Arguments as there; it does not wait for the squares.
    """
    run.begin_stage("queries", name)
    engine, layout = run.engine, run.shape.stream("dup")
    level = engine.level(stream[0]) - SQUARES_LEVELS
    own = [engine.mod_switch(a, level) for a in stream[: layout.blocks]]
    gain = engine.scale_ratio(level - 1)
    out: Handles = []
    for pair, query in enumerate(maps.query):
        through = Affine(query.weight @ ffn.keep.weight, query.weight @ ffn.keep.bias + query.bias)
        target = Target(f"{name} query {pair} keep", through.over(gain), _cls_maps(run)[0])
        out += run.apply([target], layout.maps(), own)[0]
    return out


def next_query(
    run: Context, name: str, maps: AttentionMaps, ffn: FeedForward, kept: Handles, hidden: Handles
) -> Handles:
    """The last layer's [CLS] queries straight from the layer before, one level earlier.

    Args:
        run: engine, store and shape.
        name: names the plaintexts.
        maps: the last layer's.
        ffn: the layer before.
        kept: from :func:`next_query_kept`.
        hidden: from :func:`squares`.

    Returns:
        For each pair its blocks, in every column of group 0; group 1 is waste. Levels: 1.
    """
    run.begin_stage("queries", name)
    engine, width = run.engine, len(wide(run).maps())
    gain = engine.scale_ratio(engine.level(hidden[0]) - 1) * squares_gain(run, hidden)
    out: Handles = []
    for pair, query in enumerate(maps.query):
        heads = [
            Target(
                f"{name} query {pair} down {part}",
                Affine(weight @ ffn.down.weight, np.zeros(len(weight))).over(gain),
                _cls_maps(run)[1],
            )
            for part, weight in (("real", query.weight.real), ("imaginary", query.weight.imag))
        ]
        real, imaginary = run.apply(heads, wide(run).maps(), hidden[:width])
        own = kept[pair * len(real) : (pair + 1) * len(real)]
        out += [
            _spread(run, engine.add(a, fold_groups(engine, run.shape.geometry, _join(run, b, c))))
            for a, b, c in zip(own, real, imaginary, strict=True)
        ]
    return out


def _join(run: Context, real: Handle, imaginary: Handle) -> Handle:
    """Two handles whose real parts count, as real and imaginary part of one."""
    engine = run.engine
    return engine.add(double_real(engine, real), engine.times_i(double_real(engine, imaginary)))


def _cls_maps(run: Context) -> tuple[list[Map], list[Map]]:
    """The stream's feature maps with [CLS] only: in column 0, and in column 0 of both groups."""
    first, both = [], []
    for held in run.shape.stream("dup").maps():
        columns = np.arange(held.shape[1])
        first.append(np.where(columns == 0, held, -1))
        both.append(np.where(columns % run.shape.geometry.tile == 0, held, -1))
    return first, both


def _spread(run: Context, a: Handle) -> Handle:
    """Column 0 in every column of group 0. Columns 1 to T - 1 must be zero; group 1 is waste."""
    geometry = run.shape.geometry
    moved = run.engine.rotate(run.engine.rotate(a, -geometry.tile), 1)
    return sum_columns(run.engine, geometry, moved, geometry.tile)


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
    forms = run.apply([Target("form", head.form.over(gain), outputs)], rows.maps(), row)[0]
    low = [engine.mod_switch(a, engine.level(forms[0])) for a in row]
    out = []
    for index, held in enumerate(answer.maps()):
        own = forms[index * rows.blocks : (index + 1) * rows.blocks]
        products = [engine.mul(a, b) for a, b in zip(own, low, strict=True)]
        total = sum_features(engine, geometry, run.sum_products(products))
        out.append(run.add_bias(f"answer {index}", total, head.bias, held))
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
            held = np.where((-rows) % geometry.tile == turn, first, -1)
            part = run.scale_unrescaled(f"skew {turn}", a, shrunk, held)
            total = part if total is None else engine.add(total, part)
        out.append(fill_groups(engine, geometry, engine.rescale(total)))
    return out
