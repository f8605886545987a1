"""The schedule of the ``client-aided`` protocol: what each layer sends to the client."""

from __future__ import annotations

from thex_hf.circuits.schedule import Packing, Part, RoundTrip, Schedule
from thex_hf.circuits.shape import Shape

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
