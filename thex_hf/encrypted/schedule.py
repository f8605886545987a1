"""The visits of a circuit: what the server sends, what the client does, what comes back.

Both sides derive the same schedule from the :class:`~thex_hf.encrypted.shape.Shape`, so a
message carries ciphertexts only, and each side knows how many to expect and at which level.

A visit has parts. The client's operations are:

* ``softmax``: attention scores in, attention weights out (the mask is the client's own);
* ``relu``: FFN pre-activations in, rectified values out;
* ``refresh``: values hidden by the server's mask in, the same values out, at a high level
  and in the layouts that come next. The client sees noise; the server takes the mask off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from thex_hf.encrypted.shape import Shape
from thex_hf.layout.layout import Layout
from thex_hf.layout.pairs import PairLayout

AnyLayout: TypeAlias = Layout | PairLayout
Packing: TypeAlias = tuple[AnyLayout, int]

STREAM_LEVEL = 2  # projections, scores
ATTENTION_LEVEL = 3  # context, output projection, FFN in
FFN_LEVEL = 2  # FFN out, and one level for the mask of the answer


@dataclass(frozen=True)
class Part:
    """One array that goes to the client, and how it comes back."""

    op: str
    sends: AnyLayout
    level: int
    returns: tuple[Packing, ...]


@dataclass(frozen=True)
class Visit:
    """One round: the server sends its parts, the client answers all of them."""

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Schedule:
    """A whole run: the request's packings, the visits, and the answer's layout."""

    request: tuple[Packing, ...]
    visits: tuple[Visit, ...]
    answer: Layout

    @property
    def rounds(self) -> int:
        """Messages from client to server, each answered by one from the server."""
        return 1 + len(self.visits)

    @property
    def top_level(self) -> int:
        """Highest level at which the client encrypts."""
        parts = [part for visit in self.visits for part in visit.parts]
        return max(level for part in parts for _, level in part.returns)


def stream_packings(shape: Shape, layer: int) -> tuple[Packing, ...]:
    """How layer ``layer`` wants the residual stream: queries and keys, or [CLS] and keys."""
    second = "row" if layer == shape.layers - 1 else "skew-"
    return ((shape.stream("dup"), STREAM_LEVEL), (shape.stream(second), STREAM_LEVEL))


def make_schedule(shape: Shape) -> Schedule:
    """The schedule of the ``client-aided`` protocol (THE-X, section 3.2 and algorithm 2)."""
    visits: list[Visit] = []
    for layer in range(shape.layers):
        last = layer == shape.layers - 1
        if layer:
            part = Part("refresh", shape.stream("solo"), 1, stream_packings(shape, layer))
            visits.append(Visit(f"layer {layer} stream", (part,)))
        visits.append(_attention(shape, layer, last))
        hidden = shape.ffn(last=last)
        ffn = Part("relu", hidden, 0, ((hidden, FFN_LEVEL),))
        visits.append(Visit(f"layer {layer} ffn", (ffn,)))
    return Schedule(stream_packings(shape, 0), tuple(visits), shape.logits)


def _attention(shape: Shape, layer: int, last: bool) -> Visit:
    scores = shape.pairs("row" if last else "minus")
    weights = shape.pairs("row" if last else "plus")
    values = shape.stream("dup" if last else "skew+")
    return Visit(
        f"layer {layer} attention",
        (
            Part("softmax", scores, 0, ((weights, ATTENTION_LEVEL),)),
            Part("refresh", shape.stream("back" if last else "solo"), 1, ((values, ATTENTION_LEVEL),)),
        ),
    )
