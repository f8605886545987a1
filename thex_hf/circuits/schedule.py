"""The round trips of a circuit: what the server sends, what the client does, what comes back.

Both sides derive the same schedule from the :class:`~thex_hf.circuits.shape.Shape`, so a
message carries ciphertexts only, and each side knows how many to expect and at which level.

A round trip has parts. The client's operations are:

* ``softmax``: attention scores in, attention weights out (the mask is the client's own);
* ``rectify``: attention scores in, ``ReLU((x/2+1)^3)`` out: the numerators of the estimate;
* ``relu``: FFN pre-activations in, rectified values out;
* ``refresh``: values under the server's mask in, the same values out, at a high level
  and in the layouts that come next. The client sees noise; the server takes the mask off;
* ``renew``: the same, exactly: every coefficient is blinded by one that is uniform modulo the
  whole modulus, so that whatever a client has sent it sees noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from thex_hf.circuits.batched.layout import BatchLayout
from thex_hf.ckks.packing.attention import AttentionLayout
from thex_hf.ckks.packing.layout import Layout
from thex_hf.ckks.packing.moves import Move

AnyLayout: TypeAlias = Layout | AttentionLayout | BatchLayout
Packing: TypeAlias = tuple[AnyLayout, int]
ANSWER_LEVEL = 0


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
