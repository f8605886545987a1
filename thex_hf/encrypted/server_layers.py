"""The two kinds of encoder layer on ciphertexts: every token, and [CLS] only.

Each function is a generator over one layer. It yields the handles of a visit (one list for
each part) and is sent the handles of the client's reply (for each part, one list for each
returned packing).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from thex_hf.encrypted.context import Context
from thex_hf.encrypted.folding import FoldedLayer
from thex_hf.layout import attention as kernels
from thex_hf.layout.engines import Handle
from thex_hf.layout.sums import fill_groups, fold_groups, sum_columns, sum_features

Handles: TypeAlias = list[Handle]
Reply: TypeAlias = list[list[Handles]]
Steps: TypeAlias = Generator[list[Handles], Reply, Handles]


def full_layer(run: Context, index: int, layer: FoldedLayer, stream: Handles, keys: Handles) -> Steps:
    """A layer for every token.

    Args:
        run: engine, store and shape.
        index: number of the layer, for names and mask sizes.
        layer: folded weights.
        stream: residual stream in ``dup`` at level 2.
        keys: the same in ``skew-``.

    Returns:
        The next stream in ``solo`` (group 1 holds waste) at level 1.
    """
    engine, geometry = run.engine, run.shape.geometry
    query, value = run.project_pair(index, layer, stream)
    key = [fill_groups(engine, geometry, a) for a in run.project_keys(index, layer, keys)]
    scores = _scores(run, query, key)
    hidden, mask = run.hide(run.shape.stream("solo"), value, run.bits.value[index])
    reply = yield [scores, hidden]
    weights, value = reply[0][0], run.reveal(reply[1][0], mask, run.shape.stream("skew+"))
    attended = run.attend(index, layer, _context(run, weights, value), stream, "solo")
    wide = run.up(index, layer, [fill_groups(engine, geometry, a) for a in attended], last=False)
    reply = yield [wide]
    narrow = run.down(index, layer, reply[0][0])
    return [
        engine.add(a, fold_groups(engine, geometry, b)) for a, b in zip(attended, narrow, strict=True)
    ]


def last_layer(run: Context, index: int, layer: FoldedLayer, stream: Handles, cls: Handles) -> Steps:
    """The last layer, for the [CLS] row only, with the classifier folded in.

    Args:
        run: engine, store and shape.
        index: number of the layer.
        layer: folded weights.
        stream: residual stream in ``dup`` at level 2.
        cls: its first row in ``row`` at level 2.

    Returns:
        The logits in ``cell`` at level 0; every other slot is zero.
    """
    engine, geometry = run.engine, run.shape.geometry
    query = run.project_cls(index, layer, cls)
    both = run.project_cls_side(index, layer, stream)
    scores = _cls_scores(run, query, both)
    hidden, mask = run.hide(run.shape.stream("back"), both, run.bits.value[index])
    reply = yield [scores, hidden]
    weights, value = reply[0][0], run.reveal(reply[1][0], mask, run.shape.stream("dup"))
    attended = run.attend(index, layer, _cls_context(run, weights, value), cls, "edge")
    row = [fill_groups(engine, geometry, a) for a in attended]
    reply = yield [run.up(index, layer, row, last=True)]
    return run.logits(index, layer, row, reply[0][0])


def _scores(run: Context, query: Handles, key: Handles) -> Handles:
    engine, geometry, shape = run.engine, run.shape.geometry, run.shape
    tiles, pieces, blocks = shape.stream("dup").tiles, shape.pieces, shape.stream("dup").blocks
    turned = [kernels.feature_turns(engine, geometry, a) for a in query]
    sums = {
        (head, q, k): kernels.new_partial(geometry)
        for head in range(shape.heads)
        for q in range(tiles)
        for k in range(tiles)
    }
    for k in range(tiles):
        for block in range(blocks):
            for b, a, turned_key in kernels.key_turns(engine, geometry, key[k * blocks + block]):
                for q in range(tiles):
                    for p, (head, piece_block) in enumerate(pieces):
                        if piece_block == block:
                            left = turned[q * len(pieces) + p][a]
                            kernels.accumulate(engine, sums[head, q, k], b, left, turned_key)
    return [kernels.finish_scores(engine, geometry, partial) for partial in sums.values()]


def _context(run: Context, weights: Handles, value: Handles) -> Handles:
    engine, geometry, shape = run.engine, run.shape.geometry, run.shape
    tiles, pieces, blocks = shape.stream("dup").tiles, shape.pieces, shape.stream("dup").blocks
    sums = {
        (q, p): kernels.new_partial(geometry) for q in range(tiles) for p in range(len(pieces))
    }
    for k in range(tiles):
        turned = {
            (head, q): kernels.feature_turns(
                engine, geometry, weights[(head * tiles + q) * tiles + k]
            )
            for head in range(shape.heads)
            for q in range(tiles)
        }
        for block in range(blocks):
            for b, a, turned_value in kernels.value_turns(
                engine, geometry, value[k * blocks + block]
            ):
                for q in range(tiles):
                    for p, (head, piece_block) in enumerate(pieces):
                        if piece_block == block:
                            left = turned[head, q][a]
                            kernels.accumulate(engine, sums[q, p], b, left, turned_value)
    return [kernels.finish(engine, geometry, partial) for partial in sums.values()]


def _cls_scores(run: Context, query: Handles, key: Handles) -> Handles:
    engine, shape = run.engine, run.shape
    tiles, blocks = shape.stream("dup").tiles, shape.stream("dup").blocks
    out = []
    for head in range(shape.heads):
        for k in range(tiles):
            products = [
                engine.mul(query[p], key[k * blocks + block])
                for p, (piece_head, block) in enumerate(shape.pieces)
                if piece_head == head
            ]
            product = run.settle(products)
            out.append(sum_features(engine, shape.geometry, product))
    return out


def _cls_context(run: Context, weights: Handles, value: Handles) -> Handles:
    engine, shape = run.engine, run.shape
    tiles, blocks = shape.stream("dup").tiles, shape.stream("dup").blocks
    out = []
    for head, block in shape.pieces:
        products = [
            engine.mul(weights[head * tiles + k], value[k * blocks + block]) for k in range(tiles)
        ]
        product = run.settle(products)
        out.append(sum_columns(engine, shape.geometry, product, shape.geometry.tile))
    return out
