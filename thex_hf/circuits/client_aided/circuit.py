"""The circuit of the THE-X form.

:func:`make_schedule` says what each layer sends to the client, :func:`client_aided_encoder` is the
server's side: a generator that yields it.
"""

from __future__ import annotations

from collections.abc import Generator

from thex_hf.circuits.client_aided import attention, projections
from thex_hf.circuits.client_aided.projections import FoldedLayer
from thex_hf.circuits.context import CircuitSteps, Context, Handles, Reply
from thex_hf.circuits.shape import Packing, Part, RoundTrip, Schedule, Shape
from thex_hf.ckks.packing.matmul import fill_groups

STREAM_LEVEL = 2  # projections, scores
ATTENTION_LEVEL = 3  # context, output projection, FFN in
FFN_LEVEL = 2  # FFN out, and one level for the mask of the answer
TOKENS_LEVEL = 1  # FFN out where it is the answer of every token, which needs no such mask
RECIPROCAL_LEVEL = 1  # the network's second layer; its third is one level above the context
ON_SERVER = "estimate-on-server"


def stream_packings(shape: Shape, layer: int) -> tuple[Packing, ...]:
    """How layer ``layer`` wants the residual stream: queries and keys, or [CLS] and keys."""
    second = "row" if shape.cls_only(layer) else "skew-"
    return ((shape.stream("dup"), STREAM_LEVEL), (shape.stream(second), STREAM_LEVEL))


def make_schedule(shape: Shape, softmax: str = "estimate") -> Schedule:
    """The schedule of the ``client-aided`` protocol (THE-X, section 3.2 and algorithm 2).

    With ``estimate-on-server`` the client does nothing but ReLU, as published: the server
    adds up the numerators and runs the reciprocal network, at two more round trips for each layer
    and one more level. Otherwise the client, who sees the scores anyway and has the
    network too (it is public), finishes the softmax in the same round trip.

    With the heads ``mean`` and ``tokens`` the last layer is like the others and the answer
    holds the logits of every token, padding included; the client takes what it needs.
    """
    round_trips: list[RoundTrip] = []
    for layer in range(shape.layers):
        last = shape.cls_only(layer)
        if layer:
            part = Part("refresh", shape.stream("solo"), 1, stream_packings(shape, layer))
            round_trips.append(RoundTrip(f"layer {layer} stream", (part,)))
        round_trips.append(_attention(shape, layer, last, softmax))
        if softmax == ON_SERVER:
            round_trips += _reciprocal(shape, layer, last)
        hidden = shape.ffn(last=last)
        ends = layer == shape.layers - 1 and not last
        ffn = Part("relu", hidden, 0, ((hidden, TOKENS_LEVEL if ends else FFN_LEVEL),))
        round_trips.append(RoundTrip(f"layer {layer} ffn", (ffn,)))
    answer = shape.logits if shape.head == "cls" else shape.token_logits("solo")
    return Schedule(stream_packings(shape, 0), tuple(round_trips), answer)


def _attention(shape: Shape, layer: int, last: bool, softmax: str) -> RoundTrip:
    scores = shape.attention("row" if last else "minus")
    weights = shape.attention("row" if last else "plus")
    values = shape.stream("dup" if last else "skew+")
    op, level = "softmax", ATTENTION_LEVEL
    if softmax == ON_SERVER:
        op, level = "rectify", ATTENTION_LEVEL + 1
    hidden = shape.stream("back" if last else "solo")
    return RoundTrip(
        f"layer {layer} attention",
        (
            Part(op, scores, 0, ((weights, level),)),
            Part("refresh", hidden, 1, ((values, level),)),
        ),
    )


def _reciprocal(shape: Shape, layer: int, last: bool) -> list[RoundTrip]:
    units = shape.reciprocal(last=last)
    levels = (RECIPROCAL_LEVEL, ATTENTION_LEVEL + 1)
    return [
        RoundTrip(f"layer {layer} reciprocal {i}", (Part("relu", units, 0, ((units, level),)),))
        for i, level in enumerate(levels, start=1)
    ]


def client_aided_encoder(
    run: Context, layers: tuple[FoldedLayer, ...], request: list[Handles]
) -> CircuitSteps:
    """Run the encoder on an encrypted request.

    Yields the handles of each round trip of :func:`make_schedule`, in order, and is sent
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
        context = yield from attention.normalise(run, weights, context, last=False)
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
        context = yield from attention.normalise(run, weights, context, last=True)
    middle = projections.attended(run, index, layer, context, cls, "edge")
    row = _filled(run, middle)
    reply = yield [projections.ffn_in(run, index, layer, row, last=True)]
    return projections.logits(run, index, layer, row, reply[0][0])


def _filled(run: Context, handles: Handles) -> Handles:
    return [fill_groups(run.engine, run.shape.geometry, a) for a in handles]
