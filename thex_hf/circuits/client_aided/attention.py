"""Attention scores and context of one layer, over all tiles and pieces."""

from __future__ import annotations

from thex_hf.circuits.context import Context, Handles
from thex_hf.ckks.packing import attention as kernels
from thex_hf.ckks.packing.matmul import sum_columns, sum_features


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
