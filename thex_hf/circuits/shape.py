"""What both sides know of a circuit: sizes, layouts of what crosses between them, and round trips.

Both derive the same :class:`Schedule` from the :class:`Shape`, so a message carries ciphertexts
only, and each side knows how many to expect and at which level.

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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from thex_hf.circuits.protocols import BUCKETS as BUCKETS
from thex_hf.ckks.engine import AnyVector, ComplexVector, Move, Vector
from thex_hf.ckks.packing.attention import AttentionLayout
from thex_hf.ckks.packing.layout import FeatureMap, Geometry, Layout
from thex_hf.errors import PlanError

RECIPROCAL_UNITS = 16
KEY_SHRINK = 4
ANSWER_LEVEL = 0
BATCH_KINDS = ("pairs", "row", "plain", "answer")


@dataclass(frozen=True)
class BatchLayout:
    """Packing of an array ``(texts, tokens, features)``, many texts at a time.

    Slot ``t * B + s`` belongs to token ``t`` of text ``s``, with ``B = slots / tokens`` texts. A
    rotation by ``k * B`` moves tokens by ``k``, cyclically over the whole ciphertext.

    Kinds:

    ==========  ======================================================================
    ``pairs``   ciphertext ``j`` holds features ``2j`` (real part) and ``2j + 1`` (imaginary)
    ``row``     the same, token 0 in the place of every token
    ``plain``   one real feature a ciphertext
    ``answer``  the same, token 0 only; all other slots are zero
    ==========  ======================================================================

    Raises:
        PlanError: an unknown kind, or tokens do not divide the slots.
    """

    slots: int
    kind: str
    tokens: int
    features: int

    def __post_init__(self) -> None:
        if self.kind not in BATCH_KINDS:
            raise PlanError(f"unknown batch layout {self.kind!r}; use one of {BATCH_KINDS}")
        if self.slots % self.tokens:
            raise PlanError(f"{self.tokens} tokens do not divide {self.slots} slots")

    @property
    def texts(self) -> int:
        """Texts in one ciphertext (B)."""
        return self.slots // self.tokens

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts in all."""
        paired = self.kind in ("pairs", "row")
        return -(-self.features // 2) if paired else self.features

    def pack(self, values: Vector) -> list[AnyVector]:
        """Slot vectors of ``values`` of shape ``(texts, tokens, features)``.

        Raises:
            PlanError: another shape.
        """
        wanted = (self.texts, self.tokens, self.features)
        if values.shape != wanted:
            raise PlanError(f"batch layout expects shape {wanted}, got {values.shape}")
        rows = values.transpose(2, 1, 0).astype(np.float64)  # (features, tokens, texts)
        if self.kind == "row":
            rows = np.broadcast_to(rows[:, :1], rows.shape)
        elif self.kind == "answer":
            rows = np.where(np.arange(self.tokens)[:, None] == 0, rows, 0.0)
        flat = rows.reshape(self.features, self.slots)
        if self.kind in ("plain", "answer"):
            return list(flat)
        padded = np.concatenate([flat, np.zeros((self.features % 2, self.slots))])
        return [_pair(a, b) for a, b in zip(padded[::2], padded[1::2], strict=True)]

    def reads(self) -> NDArray[np.bool_]:
        """Shape ``(ciphertexts, slots)``: where an ``answer`` holds a logit, each in one slot."""
        first = np.arange(self.slots) < self.texts
        return np.broadcast_to(first, (self.ciphertexts, self.slots))

    def unpack(self, vectors: Sequence[AnyVector]) -> Vector:
        """The array ``(texts, tokens, features)`` that ``vectors`` hold.

        Raises:
            PlanError: another number of vectors.
        """
        if len(vectors) != self.ciphertexts:
            raise PlanError(f"batch layout expects {self.ciphertexts} vectors, got {len(vectors)}")
        flat = np.stack(vectors)
        if self.kind in ("pairs", "row"):
            flat = np.stack([flat.real, flat.imag], axis=1).reshape(-1, self.slots)
        rows = flat.real[: self.features].reshape(self.features, self.tokens, self.texts)
        return np.ascontiguousarray(rows.transpose(2, 1, 0))

    def move_to(self, target: BatchLayout) -> Move:
        """What brings ``pairs`` into ``target``: nothing, or token 0 in every place."""
        return _move(self, target)


@lru_cache(maxsize=16)
def _move(source: BatchLayout, target: BatchLayout) -> Move:
    within = np.arange(source.slots) % (source.texts if target.kind == "row" else source.slots)
    starts = np.arange(source.ciphertexts)[:, None] * source.slots
    return Move(source.ciphertexts, starts + within)


def _pair(real: Vector, imaginary: Vector) -> ComplexVector:
    paired: ComplexVector = real + 1j * imaginary
    return paired


def bucket(tokens: int, buckets: Sequence[int] = BUCKETS) -> int:
    """The padded length for ``tokens`` tokens; all the server learns of the length.

    Raises:
        PlanError: more tokens than the largest bucket.
    """
    for size in buckets:
        if tokens <= size:
            return size
    raise PlanError(
        f"{tokens} tokens do not fit the largest bucket of {buckets[-1]}; "
        f"shorten the text or pass truncation=True"
    )


@dataclass(frozen=True)
class Shape:
    """Sizes of a THE-X encoder for one bucket of ``tokens`` tokens.

    ``head`` is one of :data:`thex_hf.weights.HEADS`.

    Raises:
        PlanError: heads do not divide the hidden size, or a size is not positive.
    """

    geometry: Geometry
    tokens: int
    layers: int
    hidden: int
    heads: int
    intermediate: int
    labels: int
    head: str = "cls"

    def __post_init__(self) -> None:
        sizes = (self.tokens, self.layers, self.hidden, self.heads, self.intermediate, self.labels)
        if min(sizes) < 1 or self.hidden % self.heads:
            raise PlanError(
                f"sizes (tokens, layers, hidden, heads, intermediate, labels) = {sizes}: all must "
                f"be positive and heads must divide hidden"
            )

    def for_tokens(self, tokens: int) -> Shape:
        """The same sizes for another bucket: its tile is the largest that fits the slots.

        Raises:
            PlanError: no tile fits.
        """
        return replace(self, tokens=tokens, geometry=Geometry.fit(self.geometry.slots, tokens))

    @property
    def head_size(self) -> int:
        """Features of one head."""
        return self.hidden // self.heads

    def cls_only(self, layer: int) -> bool:
        """Whether a layer is computed for the [CLS] row only: the last, if nothing else is read."""
        return self.head == "cls" and layer == self.layers - 1

    def stream(self, kind: str) -> Layout:
        """Layout of the residual stream; one token for the one-token kinds."""
        tokens = 1 if kind in ("row", "edge") else self.tokens
        return Layout(self.geometry, kind, tokens, self.hidden)

    @property
    def keys(self) -> Layout:
        """Layout of the stream that meets the queries in a polynomial layer.

        Shrunk, so that queries can be stretched: those carry the noise of a rescale, the
        keys only that of a fresh ciphertext, which is ten times smaller.
        """
        return Layout(self.geometry, "skew-", self.tokens, self.hidden, shrink=KEY_SHRINK)

    def ffn(self, *, last: bool) -> Layout:
        """Layout of the FFN's hidden values."""
        if last:
            return Layout(self.geometry, "fan", 1, self.intermediate)
        return Layout(self.geometry, "split", self.tokens, self.intermediate)

    def attention(self, kind: str) -> AttentionLayout:
        """Layout of attention scores or weights."""
        queries = 1 if kind == "row" else self.tokens
        return AttentionLayout(self.geometry, kind, self.heads, queries, self.tokens)

    def reciprocal(self, *, last: bool) -> Layout:
        """Layout of the reciprocal network's hidden units, head by head."""
        units = self.heads * RECIPROCAL_UNITS
        return Layout(self.geometry, "edge" if last else "solo", 1 if last else self.tokens, units)

    @property
    def logits(self) -> Layout:
        """Layout of the answer."""
        return Layout(self.geometry, "cell", 1, self.labels)

    def token_logits(self, kind: str) -> Layout:
        """Layout of the logits of every token: ``solo`` is how they leave."""
        return Layout(self.geometry, kind, self.tokens, self.labels)

    @property
    def bar(self) -> Layout:
        """Layout of the polynomial form's answer."""
        return Layout(self.geometry, "bar", 1, self.labels)

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """Pairs (head, feature block) that share features, in order."""
        rows = self.geometry.features
        return [
            (head, block)
            for head in range(self.heads)
            for block in range(self.geometry.blocks(self.hidden))
            if head * self.head_size < (block + 1) * rows
            and (head + 1) * self.head_size > block * rows
        ]

    def piece_maps(self, kind: str) -> list[FeatureMap]:
        """Feature maps of each piece: the block's features, those of other heads hidden."""
        maps = self.stream(kind).maps()
        out = []
        for head, block in self.pieces:
            low, high = head * self.head_size, (head + 1) * self.head_size
            feature_map = maps[block].copy()
            feature_map[(feature_map < low) | (feature_map >= high)] = -1
            out.append(feature_map)
        return out


AnyLayout: TypeAlias = Layout | AttentionLayout | BatchLayout
Packing: TypeAlias = tuple[AnyLayout, int]


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
