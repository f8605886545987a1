"""The server's circuit of the THE-X form: a generator that yields what goes to the client."""

from __future__ import annotations

from collections.abc import Generator

from thex_hf.circuits.client_aided import attention, projections
from thex_hf.circuits.client_aided.folding import FoldedLayer
from thex_hf.circuits.client_aided.reciprocal import normalise
from thex_hf.circuits.client_aided.schedule import ON_SERVER, stream_packings
from thex_hf.circuits.context import CircuitSteps, Context, Handles, Reply
from thex_hf.ckks.packing.matmul import fill_groups


def client_aided_encoder(
    run: Context, layers: tuple[FoldedLayer, ...], request: list[Handles]
) -> CircuitSteps:
    """Run the encoder on an encrypted request.

    Yields the handles of each round trip of :func:`.schedule.make_schedule`, in order, and is sent
    the client's replies. Returns the logits. Levels: see the schedule.
    """
    stream, second = request
    for index, layer in enumerate(layers[:-1]):
        after = yield from full_layer(run, index, layer, stream, second)
        masked, mask = run.mask(run.shape.stream("solo"), after, run.bits.stream[index + 1])
        reply = yield [masked]
        packings = stream_packings(run.shape, index + 1)
        stream, second = (
            run.unmask(handles, mask, layout)  # type: ignore[arg-type]
            for handles, (layout, _) in zip(reply[0], packings, strict=True)
        )
    final = last_layer if run.shape.head == "cls" else token_layer
    return (yield from final(run, len(layers) - 1, layers[-1], stream, second))


def full_layer(
    run: Context, index: int, layer: FoldedLayer, stream: Handles, keys: Handles
) -> CircuitSteps:
    """A layer for every token.

    Args:
        run: engine, cache and shape.
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
) -> CircuitSteps:
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
    masked, mask = run.mask(run.shape.stream("solo"), value, run.bits.value[index])
    reply = yield [attention.scores(run, query, key), masked]
    weights, value = reply[0][0], run.unmask(reply[1][0], mask, run.shape.stream("skew+"))
    context = attention.context(run, weights, value)
    if run.softmax == ON_SERVER:
        context = yield from normalise(run, weights, context, last=False)
    middle = projections.attended(run, index, layer, context, stream, "solo")
    filled = _filled(run, middle)
    reply = yield [projections.ffn_in(run, index, layer, filled, last=False)]
    return middle, filled, reply[0][0]


def last_layer(
    run: Context, index: int, layer: FoldedLayer, stream: Handles, cls: Handles
) -> CircuitSteps:
    """The last layer, for the [CLS] row only, with the classifier folded in.

    Args:
        run: engine, cache and shape.
        index: number of the layer.
        layer: folded weights.
        stream: residual stream in ``dup`` at level 2.
        cls: its first row in ``row`` at level 2.

    Returns:
        The logits in ``cell`` at level 0; every other slot is zero.
    """
    query = projections.cls_query(run, index, layer, cls)
    both = projections.key_beside_value(run, index, layer, stream)
    masked, mask = run.mask(run.shape.stream("back"), both, run.bits.value[index])
    reply = yield [attention.cls_scores(run, query, both), masked]
    weights, value = reply[0][0], run.unmask(reply[1][0], mask, run.shape.stream("dup"))
    context = attention.cls_context(run, weights, value)
    if run.softmax == ON_SERVER:
        context = yield from normalise(run, weights, context, last=True)
    middle = projections.attended(run, index, layer, context, cls, "edge")
    row = _filled(run, middle)
    reply = yield [projections.ffn_in(run, index, layer, row, last=True)]
    return projections.logits(run, index, layer, row, reply[0][0])


def _filled(run: Context, handles: Handles) -> Handles:
    return [fill_groups(run.engine, run.shape.geometry, a) for a in handles]
