"""Layouts of attention matrices: one value for each (head, query, key)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thex_hf.ckks.engine import Vector
from thex_hf.ckks.packing.geometry import Geometry
from thex_hf.ckks.packing.layout import FeatureMap
from thex_hf.errors import PlanError


@dataclass(frozen=True)
class AttentionLayout:
    """Packing of an array ``(heads, queries, keys)``.

    One ciphertext for each head, query tile and key tile, in that order.

    * ``minus``: slot ``(f, i)`` of group 0 holds ``[i, (i - f) mod T]``: what
      :func:`thex_hf.ckks.packing.attention.finish_scores` leaves.
    * ``plus``: slot ``(f, i)`` of group 0 holds ``[i, (i + f) mod T]``: what
      products with :func:`thex_hf.ckks.packing.attention.value_rotations` expect. Group 1 is zero.
    * ``row``: one query; slot ``(f, c)`` holds ``[0, c mod T]`` in every row and group; only
      group 0 is read.
    """

    geometry: Geometry
    kind: str
    heads: int
    queries: int
    keys: int

    def __post_init__(self) -> None:
        if self.kind not in ("minus", "plus", "row"):
            raise PlanError(f"unknown pair layout {self.kind!r}; use minus, plus or row")
        if self.kind == "row" and self.queries != 1:
            raise PlanError(f"pair layout 'row' holds one query, not {self.queries}")

    @property
    def query_tiles(self) -> int:
        """Tiles of queries (1 for ``row``)."""
        return self.geometry.tiles(self.queries)

    @property
    def key_tiles(self) -> int:
        """Tiles of keys."""
        return self.geometry.tiles(self.keys)

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts in all."""
        return self.heads * self.query_tiles * self.key_tiles

    def _maps(self) -> tuple[FeatureMap, FeatureMap, FeatureMap]:
        geometry = self.geometry
        f, c = np.mgrid[0 : geometry.features, 0 : geometry.columns]
        if self.kind == "row":
            return np.zeros_like(c), c % geometry.tile, np.ones_like(c)
        sign = -1 if self.kind == "minus" else 1
        return c % geometry.tile, (c + sign * f) % geometry.tile, (c < geometry.tile) * 1

    def pack(self, array: Vector) -> list[Vector]:
        """Slot vectors of ``array`` of shape ``(heads, queries, keys)``."""
        expected = (self.heads, self.queries, self.keys)
        if array.shape != expected:
            raise PlanError(f"pair layout expects shape {expected}, got {array.shape}")
        tile = self.geometry.tile
        padded = np.zeros((self.heads, self.query_tiles * tile, self.key_tiles * tile))
        padded[:, : self.queries, : self.keys] = array
        query, key, held = self._maps()
        return [
            (padded[head, query + q * tile, key + k * tile] * held).ravel()
            for head in range(self.heads)
            for q in range(self.query_tiles)
            for k in range(self.key_tiles)
        ]

    def unpack(self, vectors: list[Vector]) -> Vector:
        """The array ``(heads, queries, keys)`` that ``vectors`` hold."""
        if len(vectors) != self.ciphertexts:
            raise PlanError(f"pair layout expects {self.ciphertexts} vectors, got {len(vectors)}")
        tile = self.geometry.tile
        out = np.zeros((self.heads, self.query_tiles * tile, self.key_tiles * tile))
        query, key, _ = self._maps()
        window = (slice(0, tile), slice(0, tile))  # T rows of group 0 hold every pair once
        shape = query.shape
        for index, vector in enumerate(vectors):
            head, rest = divmod(index, self.query_tiles * self.key_tiles)
            q, k = divmod(rest, self.key_tiles)
            rows, columns = query[window] + q * tile, key[window] + k * tile
            out[head, rows, columns] = vector.reshape(shape)[window]
        return out[:, : self.queries, : self.keys]
