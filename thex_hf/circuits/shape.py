"""Sizes of one circuit and the layouts of everything that crosses between the sides."""

from __future__ import annotations

from dataclasses import dataclass, replace

from thex_hf.ckks.packing.attention import AttentionLayout
from thex_hf.ckks.packing.layout import FeatureMap, Geometry, Layout
from thex_hf.errors import PlanError

BUCKETS = (16, 32, 64, 128)
RECIPROCAL_UNITS = 16
KEY_SHRINK = 4


def bucket(tokens: int) -> int:
    """The padded length for ``tokens`` tokens; all the server learns of the length.

    Raises:
        PlanError: more tokens than the largest bucket.
    """
    for size in BUCKETS:
        if tokens <= size:
            return size
    raise PlanError(
        f"{tokens} tokens do not fit the largest bucket of {BUCKETS[-1]}; "
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
