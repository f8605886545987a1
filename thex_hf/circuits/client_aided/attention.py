"""Attention scores and context of one layer, over all tiles and pieces.

With ``estimate-on-server`` the reciprocal network of the softmax estimate comes with it (THE-X,
equation 4; :func:`normalise`). The client rectifies (two round trips), the server does all linear
maps: row sums of the numerators, the network's three layers, and the product with the context.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from thex_hf.approximations.softmax import ReciprocalNet, load_reciprocal
from thex_hf.circuits.affine import Affine
from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.ckks.packing import attention as kernels
from thex_hf.ckks.packing.layout import FeatureMap
from thex_hf.ckks.packing.matmul import rotate_sum, sum_columns, sum_features


def scores(run: Context, query: Handles, key: Handles) -> Handles:
    """Scores in attention layout ``minus`` from query pieces in ``solo`` and keys in ``skew-``.

    Levels: 1.
    """
    run.begin_stage("scores")
    engine, geometry, shape = run.engine, run.shape.geometry, run.shape
    tiles, blocks, pieces = shape.stream("dup").tiles, shape.stream("dup").blocks, shape.pieces
    rotated = [kernels.feature_rotations(engine, geometry, a) for a in query]
    sums: dict[tuple[int, int, int], kernels.InnerSums] = {
        (head, q, k): {} for head in range(shape.heads) for q in range(tiles) for k in range(tiles)
    }
    for k in range(tiles):
        for block in range(blocks):
            block_pieces = [(p, head) for p, (head, b) in enumerate(pieces) if b == block]
            for b, a, rotated_key in kernels.key_rotations(
                engine, geometry, key[k * blocks + block]
            ):
                for q in range(tiles):
                    for p, head in block_pieces:
                        left = rotated[q * len(pieces) + p][a]
                        kernels.accumulate(engine, sums[head, q, k], b, left, rotated_key)
    return [kernels.finish_scores(engine, geometry, partial) for partial in sums.values()]


def context(run: Context, weights: Handles, value: Handles) -> Handles:
    """Context pieces from attention weights in ``plus`` and values in ``skew+``.

    Within a piece only its head's features mean anything; the output projection reads no
    others. Levels: 1.
    """
    run.begin_stage("context")
    engine, geometry, shape = run.engine, run.shape.geometry, run.shape
    tiles, blocks, pieces = shape.stream("dup").tiles, shape.stream("dup").blocks, shape.pieces
    sums: dict[tuple[int, int], kernels.InnerSums] = {
        (q, p): {} for q in range(tiles) for p in range(len(pieces))
    }
    for k in range(tiles):
        rotated = {
            (head, q): kernels.feature_rotations(
                engine, geometry, weights[(head * tiles + q) * tiles + k]
            )
            for head in range(shape.heads)
            for q in range(tiles)
        }
        for block in range(blocks):
            block_pieces = [(p, head) for p, (head, b) in enumerate(pieces) if b == block]
            handle = value[k * blocks + block]
            for b, a, rotated_value in kernels.value_rotations(engine, geometry, handle):
                for q in range(tiles):
                    for p, head in block_pieces:
                        kernels.accumulate(
                            engine, sums[q, p], b, rotated[head, q][a], rotated_value
                        )
    return [kernels.finish(engine, geometry, partial) for partial in sums.values()]


def cls_scores(run: Context, query: Handles, key: Handles) -> Handles:
    """The [CLS] row's scores in attention layout ``row`` (group 1 is zero). Levels: 1."""
    run.begin_stage("scores")
    engine, shape = run.engine, run.shape
    tiles, blocks = shape.stream("dup").tiles, shape.stream("dup").blocks
    out = []
    for head in range(shape.heads):
        head_pieces = [(p, block) for p, (h, block) in enumerate(shape.pieces) if h == head]
        for k in range(tiles):
            products = [engine.mul(query[p], key[k * blocks + block]) for p, block in head_pieces]
            out.append(sum_features(engine, shape.geometry, run.sum_products(products)))
    return out


def cls_context(run: Context, weights: Handles, value: Handles) -> Handles:
    """The [CLS] row's context pieces in every column of group 0. Levels: 1."""
    run.begin_stage("context")
    engine, shape = run.engine, run.shape
    tiles, blocks = shape.stream("dup").tiles, shape.stream("dup").blocks
    out = []
    for head, block in shape.pieces:
        products = [
            engine.mul(weights[head * tiles + k], value[k * blocks + block]) for k in range(tiles)
        ]
        out.append(
            sum_columns(engine, shape.geometry, run.sum_products(products), shape.geometry.tile)
        )
    return out


def normalise(
    run: Context, numerators: Handles, context: Handles, *, last: bool
) -> Generator[list[Handles], list[list[Handles]], Handles]:
    """Multiply context pieces by the reciprocals of their row sums.

    Args:
        run: engine, cache and shape.
        numerators: rectified scores as returned by the client.
        context: pieces, tile by tile, one level lower.
        last: the layer is for the [CLS] row only.

    Returns:
        The pieces, one more level lower.
    """
    run.begin_stage("row sums, reciprocal")
    net, maps = load_reciprocal(), run.shape.reciprocal(last=last).maps()
    first = _first_layer(run, net, _row_sums(run, numerators, last), maps, last)
    reply = yield [[run.engine.mod_switch(a, 0) for a in first]]
    heads = run.shape.heads
    middle = Affine(np.asarray(np.kron(np.eye(heads), net.w2), np.float64), np.tile(net.b2, heads))
    second = run.apply([Target(f"second {last}", middle, maps)], maps, reply[0][0])[0]
    reply = yield [second]
    inverse = _third_layer(run, net, reply[0][0], maps, last)
    pieces = run.shape.pieces
    return [
        run.sum_products(
            [run.engine.mul(a, inverse[i // len(pieces) * heads + pieces[i % len(pieces)][0]])]
        )
        for i, a in enumerate(context)
    ]


def _row_sums(run: Context, numerators: Handles, last: bool) -> Handles:
    """For each head and query tile, the sum over keys in every row of group 0."""
    geometry, key_tiles = run.shape.geometry, run.shape.stream("dup").tiles
    sums = []
    for start in range(0, len(numerators), key_tiles):
        total = run.add_all(numerators[start : start + key_tiles])
        if last:
            sums.append(sum_columns(run.engine, geometry, total, geometry.tile))
        else:
            baby, columns = geometry.baby_steps, geometry.columns
            part = rotate_sum(run.engine, total, columns, baby)
            sums.append(rotate_sum(run.engine, part, columns * baby, geometry.tile // baby))
    return sums


def _first_layer(
    run: Context, net: ReciprocalNet, sums: Handles, maps: list[FeatureMap], last: bool
) -> Handles:
    """Hidden units of all heads; each head's units take that head's sums. One level."""
    heads, units = run.shape.heads, len(net.w1)
    tiles = len(sums) // heads
    out = []
    for tile in range(tiles):
        for block, feature_map in enumerate(maps):
            shares = []
            for head in range(heads):
                units_map = np.where(feature_map // units == head, feature_map, -1)
                if (units_map >= 0).any():
                    name, factor = f"first {last} {block} {head}", np.tile(net.w1, heads)
                    shares.append(run.scale(name, sums[head * tiles + tile], factor, units_map))
            bias = np.tile(net.b1, heads)
            out.append(
                run.add_bias(f"first {last} {block}", run.add_all(shares), bias, feature_map)
            )
    return out


def _third_layer(
    run: Context, net: ReciprocalNet, hidden: Handles, maps: list[FeatureMap], last: bool
) -> Handles:
    """For each tile and head, the reciprocal in every row of group 0. One level."""
    heads = run.shape.heads
    columns = maps[0][:1] >= 0  # row 0 always holds a unit: true for group 0
    outputs = [np.broadcast_to(np.where(columns, h, -1), maps[0].shape) for h in range(heads)]
    affine = Affine(
        np.asarray(np.kron(np.eye(heads), net.w3[None]), np.float64), np.full(heads, float(net.b3))
    )
    return run.apply([Target(f"third {last}", affine, outputs)], maps, hidden)[0]
