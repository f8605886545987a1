"""Last FFN and classifier where every token is read: logits of each, or of their mean.

The mask is encrypted, so the server cannot drop padded tokens by itself. One product with the
mask, a level more than the FFN takes, does it: after the classifier for the logits of each
token, before the last matrix for the mean, since that matrix is then what clears the columns
that a sum over tokens spoils.
"""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.circuits.polynomial.maps import FeedForward
from thex_hf.circuits.polynomial.powers import double_real
from thex_hf.circuits.single.feed_forward import hidden_layout, squares, squares_gain
from thex_hf.ckks.packing.layout import FeatureMap
from thex_hf.ckks.packing.matmul import sum_columns


def head_logits(run: Context, head: FeedForward, stream: Handles, mask: Handles) -> Handles:
    """Logits in the layout of the answer; every slot that holds none is zero.

    Args:
        run: engine, cache and shape.
        head: last FFN and classifier.
        stream: ``dup``, before the norm.
        mask: one handle for each tile: for ``mean`` the ``mask / n`` in ``dup`` at the level of
            the squares, for ``tokens`` the mask in ``solo``, one level lower.

    Levels: 4.
    """
    hidden = squares(run, "head", head, stream)
    level = run.engine.level(hidden[0])
    low = [run.engine.mod_switch(a, level) for a in stream]
    run.begin_stage("FFN out, classifier")
    read = _mean if run.shape.head == "mean" else _tokens
    return read(run, head, hidden, low, mask)


def _tokens(
    run: Context, head: FeedForward, hidden: Handles, stream: Handles, mask: Handles
) -> Handles:
    """Logits of true tokens in ``solo``. Levels: 2."""
    engine, solo = run.engine, run.shape.token_logits("solo")
    gain = engine.scale_ratio(engine.level(hidden[0]) - 1)
    down = head.down.divided_by(squares_gain(run, hidden) * gain)
    maps = solo.maps(), run.shape.token_logits("back").maps()
    logits = _classify(run, down, head.keep.divided_by(gain), hidden, stream, *maps)
    return [
        run.sum_products([engine.mul(a, mask[index // solo.blocks])])
        for index, a in enumerate(logits)
    ]


def _mean(
    run: Context, head: FeedForward, hidden: Handles, stream: Handles, mask: Handles
) -> Handles:
    """Logits of the mean over true tokens in ``cell``. Levels: 2."""
    gain = run.engine.scale_ratio(run.engine.level(hidden[0]))
    down = head.down.divided_by(squares_gain(run, hidden) * gain)
    keep = Affine(head.keep.weight / gain, head.keep.bias)  # the shares of all tokens make one
    tile, cell = run.shape.geometry.tile, run.shape.logits.maps()
    beside = [
        np.roll(feature_map, tile, axis=1) for feature_map in cell
    ]  # the first column of group 1
    means = _over_tokens(run, hidden, mask), _over_tokens(run, stream, mask)
    return _classify(run, down, keep, *means, cell, beside)


def _over_tokens(run: Context, handles: Handles, mask: Handles) -> Handles:
    """Mask and sum over all tokens, for each block; right in the first column of each group.

    Levels: 1. The other columns are waste.
    """
    geometry, blocks = run.shape.geometry, len(handles) // len(mask)
    out = []
    for block in range(blocks):
        tiles = handles[block::blocks]
        total = run.sum_products([run.engine.mul(a, m) for a, m in zip(tiles, mask, strict=True)])
        out.append(sum_columns(run.engine, geometry, total, geometry.tile))
    return out


def _classify(
    run: Context,
    down: Affine,
    keep: Affine,
    hidden: Handles,
    stream: Handles,
    first: list[FeatureMap],
    second: list[FeatureMap],
) -> Handles:
    """``down`` of the squares and ``keep`` of the stream, in the layout of ``first``. Levels: 1.

    ``split`` has features in both groups. Their shares come out apart, those of group 1 in the
    layout of ``second``, which one left turn by T moves onto ``first``: nothing else is left.
    """
    engine = run.engine
    targets = [Target("head down", down, first), Target("head down back", down, second)]
    shares, turned = run.apply(targets, hidden_layout(run).maps(), hidden)
    kept = run.apply([Target("head keep", keep, first)], run.shape.stream("dup").maps(), stream)[0]
    out = []
    for a, b, c in zip(shares, turned, kept, strict=True):
        total = engine.add(a, engine.rotate(b, run.shape.geometry.tile))
        out.append(engine.add(double_real(engine, total), c))
    return out
