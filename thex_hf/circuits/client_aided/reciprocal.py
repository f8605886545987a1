"""The reciprocal network of the softmax estimate on ciphertexts (THE-X, equation 4).

Used with ``estimate-on-server``. The client rectifies (two round trips), the server does all
linear maps: row sums of the numerators, the network's three layers, and the product with
the context.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from thex_hf.approximations.softmax import ReciprocalNet, load_reciprocal
from thex_hf.circuits.affine import Affine
from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.ckks.packing.layout import FeatureMap
from thex_hf.ckks.packing.matmul import rotate_sum, sum_columns


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
