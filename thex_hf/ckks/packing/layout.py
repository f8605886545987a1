"""Layouts: which element of a ``(tokens, features)`` matrix lies in which slot.

A layout is pure and frozen. ``pack`` turns a matrix into slot vectors, ``unpack`` is its
inverse, ``maps`` says for every ciphertext which feature each slot holds (-1: none).

Kinds (T tile, F rows, C = 2T columns; ``f`` row, ``c`` column):

=========  =====================================================================
``dup``    both groups hold the tile: token ``c mod T``
``solo``   group 0 holds the tile, group 1 is zero
``back``   group 1 holds the tile, group 0 is not read (two results in one ciphertext)
``skew-``  dup, row ``f`` turned back by ``f``: token ``(c - f) mod T`` (key side)
``skew+``  dup, row ``f`` turned on by ``f``: token ``(c + f) mod T`` (value side)
``split``  group ``g`` holds feature block ``2m + g``: wide matrices, no waste
``row``    one token in every column
``edge``   one token in every column of group 0, group 1 is zero
``fan``    one token; column ``c`` holds feature block ``c mod P``
``cell``   one token in column 0, all else zero (what leaves for the client)
``bar``    one token; column ``c`` of group 0 holds feature ``mT + c`` in every row
=========  =====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thex_hf.ckks.engine import Move, Vector
from thex_hf.errors import PlanError

FeatureMap = NDArray[np.int64]
KINDS = ("dup", "solo", "back", "skew-", "skew+", "split", "row", "edge", "fan", "cell", "bar")
GROUPS = 2
ONE_TOKEN = ("row", "edge", "fan", "cell", "bar")


@dataclass(frozen=True)
class Layout:
    """Packing of a ``(tokens, features)`` matrix, see the module's table of kinds.

    Slots hold the elements divided by ``2**shrink``.
    """

    geometry: Geometry
    kind: str
    tokens: int
    features: int
    shrink: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PlanError(f"unknown layout kind {self.kind!r}; use one of {KINDS}")
        if self.kind in ONE_TOKEN and self.tokens != 1:
            raise PlanError(f"layout {self.kind!r} holds one token, not {self.tokens}")

    @property
    def fan(self) -> int:
        """Feature blocks side by side in the columns of one ciphertext (power of two)."""
        if self.kind == "split":
            return GROUPS
        if self.kind != "fan":
            return 1
        blocks = self.geometry.blocks(self.features)
        return min(1 << (blocks - 1).bit_length(), self.geometry.columns)

    @property
    def tiles(self) -> int:
        """Token tiles."""
        return self.geometry.tiles(self.tokens)

    @property
    def blocks(self) -> int:
        """Ciphertexts for each tile."""
        if self.kind == "bar":
            return self.geometry.tiles(self.features)
        return -(-self.geometry.blocks(self.features) // self.fan)

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts in all, tile by tile."""
        return self.tiles * self.blocks

    def maps(self) -> list[FeatureMap]:
        """For each block, shape ``(F, C)``: the feature in each slot, or -1."""
        return [_feature_map(self, block) for block in range(self.blocks)]

    def token_map(self) -> FeatureMap:
        """Shape ``(F, C)``: the token within the tile in each slot."""
        return _token_map(self)

    def pack(self, matrix: Vector) -> list[Vector]:
        """Slot vectors of ``matrix`` of shape ``(tokens, features)``, tile by tile."""
        if matrix.shape != (self.tokens, self.features):
            raise PlanError(
                f"layout expects shape {(self.tokens, self.features)}, got {matrix.shape}"
            )
        padded = np.zeros((self.tiles * self.geometry.tile, self.features + 1))
        # the last column stays zero, for -1 in a map
        padded[: self.tokens, : self.features] = matrix / 2**self.shrink
        token = self.token_map()
        out = []
        for tile in range(self.tiles):
            rows = token + tile * self.geometry.tile
            out += [padded[rows, features].ravel() for features in self.maps()]
        return out

    def reads(self) -> NDArray[np.bool_]:
        """Shape ``(ciphertexts, slots)``: the slots that :meth:`unpack` reads, one an element."""
        slots = self.geometry.slots
        numbers = np.arange(float(self.ciphertexts * slots)).reshape(-1, slots)
        out = np.zeros(numbers.shape, dtype=bool)
        read = self.unpack(list(numbers)) / 2**self.shrink
        out.ravel()[read.astype(np.int64)] = True
        return out

    def unpack(self, vectors: list[Vector]) -> Vector:
        """The matrix of shape ``(tokens, features)`` that ``vectors`` hold.

        Where a layout repeats an element, the copy furthest left is read.
        """
        if len(vectors) != self.ciphertexts:
            raise PlanError(f"layout expects {self.ciphertexts} vectors, got {len(vectors)}")
        out = np.zeros((self.tiles * self.geometry.tile, self.features))
        token = self.token_map()
        shape = token.shape
        maps = self.maps()
        for index, vector in enumerate(vectors):
            tile, block = divmod(index, self.blocks)
            values = vector.reshape(shape)[:, ::-1]  # reversed: column 0 is written last
            features = maps[block][:, ::-1]
            rows = token[:, ::-1] + tile * self.geometry.tile
            held = features >= 0
            out[rows[held], features[held]] = values[held]
        return np.asarray(out[: self.tokens] * 2**self.shrink)

    def move_to(self, target: Layout) -> Move:
        """What brings the matrix from this layout into ``target``, which may hold fewer tokens.

        Of elements that are there more than once the copy furthest left is taken, as by
        :meth:`unpack`; imaginary parts are dropped.
        """
        return _move(self, target)


@lru_cache(maxsize=64)
def _move(source: Layout, target: Layout) -> Move:
    slots, whole = source.geometry.slots, replace(source, shrink=0)
    numbers = np.arange(source.ciphertexts * slots, dtype=np.float64) + 1
    matrix = whole.unpack(list(numbers.reshape(-1, slots)))[: target.tokens]
    places = np.stack(replace(target, shrink=0).pack(matrix)).astype(np.int64) - 1
    return Move(source.ciphertexts, places, 2.0 ** (source.shrink - target.shrink), real=True)


@lru_cache(maxsize=256)
def _token_map(layout: Layout) -> FeatureMap:
    geometry = layout.geometry
    f, c = np.mgrid[0 : geometry.features, 0 : geometry.columns]
    if layout.kind in ONE_TOKEN:
        return np.zeros_like(c)
    turn = {"skew-": -f, "skew+": f}.get(layout.kind, 0)
    return np.asarray((c + turn) % geometry.tile, dtype=np.int64)


@lru_cache(maxsize=256)
def _feature_map(layout: Layout, block: int) -> FeatureMap:
    geometry = layout.geometry
    f, c = np.mgrid[0 : geometry.features, 0 : geometry.columns]
    if layout.kind == "bar":
        feature = block * geometry.tile + c
        return np.where((c >= geometry.tile) | (feature >= layout.features), -1, feature)
    part = {"split": c // geometry.tile, "fan": c % layout.fan}.get(layout.kind, 0)
    feature = (block * layout.fan + part) * geometry.features + f
    hidden = np.zeros_like(c, dtype=bool)
    if layout.kind in ("solo", "edge"):
        hidden = c >= geometry.tile
    elif layout.kind == "back":
        hidden = c < geometry.tile
    elif layout.kind == "cell":
        hidden = c > 0
    return np.where(hidden | (feature >= layout.features), -1, feature)


def first_group(geometry: Geometry) -> FeatureMap:
    """A map of shape ``(F, C)``: 0 in group 0, -1 in group 1."""
    columns = np.where(np.arange(geometry.columns) < geometry.tile, 0, -1)
    return np.broadcast_to(columns, (geometry.features, geometry.columns)).copy()


@dataclass(frozen=True)
class Geometry:
    """Division of ``slots`` into ``features`` rows of ``2 * tile`` columns.

    Args:
        slots: real slots in a ciphertext, a power of two.
        tile: tokens handled together (T); longer texts use several tiles.
        most_baby_steps: a power of two; 0: no other bound than :attr:`baby_steps` states.

    Raises:
        PlanError: ``tile`` does not fit (it must divide ``features``).
    """

    slots: int
    tile: int
    most_baby_steps: int = 0

    def __post_init__(self) -> None:
        if self.slots % (GROUPS * self.tile) or self.features % self.tile:
            raise PlanError(
                f"a tile of {self.tile} tokens does not fit {self.slots} slots: two groups "
                f"of {self.tile} columns must leave a multiple of {self.tile} features"
            )

    @property
    def columns(self) -> int:
        """Columns C = 2T of one feature row."""
        return GROUPS * self.tile

    @property
    def features(self) -> int:
        """Feature rows F in one ciphertext."""
        return self.slots // self.columns

    @property
    def baby_steps(self) -> int:
        """Rotations done one by one before a giant step; divides ``tile``."""
        root = 1 << ((self.features.bit_length()) // 2)
        return min(root, self.tile, self.most_baby_steps or root)

    def tiles(self, tokens: int) -> int:
        """Tiles that ``tokens`` tokens need."""
        return -(-tokens // self.tile)

    def blocks(self, features: int) -> int:
        """Feature blocks of F rows that ``features`` features need."""
        return -(-features // self.features)

    @classmethod
    def fit(cls, slots: int, tokens: int) -> Geometry:
        """The largest power-of-two tile that fits, not larger than ``tokens``.

        Raises:
            PlanError: even a tile of two tokens does not fit.
        """
        tile = 1
        while 2 * tile <= tokens and GROUPS * (2 * tile) ** 2 <= slots:
            tile *= 2
        if tile < 2:
            raise PlanError(f"{slots} slots are too few for {tokens} tokens; use a larger ring")
        return cls(slots, tile)
