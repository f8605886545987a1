"""The round trips of a circuit: what the server sends, what the client does, what comes back.

Both sides derive the same schedule from the :class:`~thex_hf.circuits.shape.Shape`, so a
message carries ciphertexts only, and each side knows how many to expect and at which level.

A round trip has parts. The client's operations are:

* ``softmax``: attention scores in, attention weights out (the mask is the client's own);
* ``rectify``: attention scores in, ``ReLU((x/2+1)^3)`` out: the numerators of the estimate;
* ``relu``: FFN pre-activations in, rectified values out;
* ``refresh``: values hidden by the server's mask in, the same values out, at a high level
  and in the layouts that come next. The client sees noise; the server takes the mask off;
* ``renew``: the same, exactly: every coefficient is hidden by one that is uniform modulo the
  whole modulus, so that whatever a client has sent it sees noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from thex_hf.circuits.batched.layout import BatchLayout
from thex_hf.circuits.shape import Shape
from thex_hf.ckks.packing.attention_layout import AttentionLayout
from thex_hf.ckks.packing.layout import Layout
from thex_hf.ckks.packing.moves import Move

AnyLayout: TypeAlias = Layout | AttentionLayout | BatchLayout
Packing: TypeAlias = tuple[AnyLayout, int]

STREAM_LEVEL = 2  # projections, scores
ATTENTION_LEVEL = 3  # context, output projection, FFN in
FFN_LEVEL = 2  # FFN out, and one level for the mask of the answer
TOKENS_LEVEL = 1  # FFN out where it is the answer of every token, which needs no such mask
ANSWER_LEVEL = 0
RECIPROCAL_LEVEL = 1  # the network's second layer; its third is one level above the context

SOFTMAX = ("estimate", "exact", "estimate-on-server")
ON_SERVER = "estimate-on-server"


@dataclass(frozen=True)
class Part:
    """One array that goes to the client, and how it comes back."""

    op: str
    sends: AnyLayout
    level: int
    returns: tuple[Packing, ...]

    @property
    def moves(self) -> tuple[tuple[Move, int], ...]:
        """For a ``renew`` part: what becomes of the slots, and the level, for each packing."""
        out: list[tuple[Move, int]] = []
        for layout, level in self.returns:
            if isinstance(self.sends, Layout) and isinstance(layout, Layout):
                out.append((self.sends.move_to(layout), level))
            if isinstance(self.sends, BatchLayout) and isinstance(layout, BatchLayout):
                out.append((self.sends.move_to(layout), level))
        return tuple(out)


@dataclass(frozen=True)
class RoundTrip:
    """One round: the server sends its parts, the client answers all of them."""

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Schedule:
    """A whole run: the request's packings, the round trips, and the answer's layout.

    ``averaging_masks`` are further packings of the request, for ``mask / n``: 1/n for each of the
    n true tokens and 0 for padding, so that the server need not know n. ``token_masks`` are more
    of them, for the mask itself: 1 for each true token.
    """

    request: tuple[Packing, ...]
    round_trips: tuple[RoundTrip, ...]
    answer: Layout | BatchLayout
    averaging_masks: tuple[Packing, ...] = ()
    token_masks: tuple[Packing, ...] = ()

    @property
    def inputs(self) -> tuple[Packing, ...]:
        """All parts of a request."""
        return self.request + self.averaging_masks + self.token_masks

    @property
    def rounds(self) -> int:
        """Messages from client to server, each answered by one from the server."""
        return 1 + len(self.round_trips)

    @property
    def top_level(self) -> int:
        """Highest level at which the client encrypts."""
        parts = [part for round_trip in self.round_trips for part in round_trip.parts]
        every = [*self.inputs, *(packing for part in parts for packing in part.returns)]
        return max(level for _, level in every)


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
    scores = shape.pairs("row" if last else "minus")
    weights = shape.pairs("row" if last else "plus")
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
