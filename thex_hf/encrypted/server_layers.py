"""The kinds of encoder layer on ciphertexts: every token, the last with logits, [CLS] only.

Each function is a generator over one layer. It yields the handles of a visit (one list for
each part) and is sent the handles of the client's reply (for each part, one list for each
returned packing).
"""

from __future__ import annotations

from collections.abc import Generator

from thex_hf.encrypted import projections, scores
from thex_hf.encrypted.context import Context, Handles
from thex_hf.encrypted.folding import FoldedLayer
from thex_hf.encrypted.normaliser import normalise
from thex_hf.encrypted.program import Reply, Steps
from thex_hf.encrypted.schedule import ON_SERVER
from thex_hf.layout.sums import fill_groups


def full_layer(
    run: Context, index: int, layer: FoldedLayer, stream: Handles, keys: Handles
) -> Steps:
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
    middle, _, wide = yield from _every_token(run, index, layer, stream, keys)
    narrow = projections.ffn_out(run, index, layer, wide)
    return [run.engine.add(a, b) for a, b in zip(middle, narrow, strict=True)]


def token_layer(
    run: Context, index: int, layer: FoldedLayer, stream: Handles, keys: Handles
) -> Steps:
    """The last layer for every token, with the classifier folded in. Arguments as above.

    Returns:
        The logits of every token in ``solo`` at level 0; every other slot is zero.
    """
    _, filled, wide = yield from _every_token(run, index, layer, stream, keys)
    return projections.token_logits(run, index, layer, filled, wide)


def _every_token(
    run: Context, index: int, layer: FoldedLayer, stream: Handles, keys: Handles
) -> Generator[list[Handles], Reply, tuple[Handles, Handles, Handles]]:
    """``u = x + attention`` in ``solo`` and ``dup`` at level 1, and the FFN values in ``split``."""
    query, value = projections.query_and_value(run, index, layer, stream)
    key = _filled(run, projections.skewed_key(run, index, layer, keys))
    hidden, mask = run.hide(run.shape.stream("solo"), value, run.bits.value[index])
    reply = yield [scores.scores(run, query, key), hidden]
    weights, value = reply[0][0], run.reveal(reply[1][0], mask, run.shape.stream("skew+"))
    context = scores.context(run, weights, value)
    if run.softmax == ON_SERVER:
        context = yield from normalise(run, weights, context, last=False)
    middle = projections.attended(run, index, layer, context, stream, "solo")
    filled = _filled(run, middle)
    reply = yield [projections.ffn_in(run, index, layer, filled, last=False)]
    return middle, filled, reply[0][0]


def last_layer(
    run: Context, index: int, layer: FoldedLayer, stream: Handles, cls: Handles
) -> Steps:
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
    query = projections.cls_query(run, index, layer, cls)
    both = projections.key_beside_value(run, index, layer, stream)
    hidden, mask = run.hide(run.shape.stream("back"), both, run.bits.value[index])
    reply = yield [scores.cls_scores(run, query, both), hidden]
    weights, value = reply[0][0], run.reveal(reply[1][0], mask, run.shape.stream("dup"))
    context = scores.cls_context(run, weights, value)
    if run.softmax == ON_SERVER:
        context = yield from normalise(run, weights, context, last=True)
    middle = projections.attended(run, index, layer, context, cls, "edge")
    row = _filled(run, middle)
    reply = yield [projections.ffn_in(run, index, layer, row, last=True)]
    return projections.logits(run, index, layer, row, reply[0][0])


def _filled(run: Context, handles: Handles) -> Handles:
    return [fill_groups(run.engine, run.shape.geometry, a) for a in handles]
