"""Attention in slots: layouts of its matrices, and products of ciphertexts on the skewed ones.

An attention matrix has one value for each (head, query, key); :class:`AttentionLayout` says where.
Both kernels are sums over the T token shifts ``s = a + B * b``. All shifts of one operand
are needed, but only ``B`` of the other: the factor ``rotate(., C * B * b)`` is taken out of
each inner sum and applied to partial sums, which are first relinearised and rescaled
(in this order: rescaling a ciphertext of size 3 costs a hundred times the noise).

The inner sums do not depend on each other, so ranges of ``b`` can be computed apart
(:func:`split_giant_steps`); what both need again is the B baby steps of one operand.

Levels: 1 each. Products are relinearised once for each partial sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from thex_hf.ckks.engine import Handle, ServerEngine, Vector
from thex_hf.ckks.packing.layout import FeatureMap, Geometry
from thex_hf.ckks.packing.matmul import rotate_sum
from thex_hf.errors import PlanError

InnerSums = dict[int, Handle]
"""Inner sums by giant step ``b``."""


def split_giant_steps(geometry: Geometry, parts: int) -> list[range]:
    """The giant steps ``b`` in at most ``parts`` ranges of about the same length."""
    count = geometry.tile // geometry.baby_steps
    parts = min(parts, count)
    edges = [count * part // parts for part in range(parts + 1)]
    return [range(low, high) for low, high in pairwise(edges)]


def feature_rotations(engine: ServerEngine, geometry: Geometry, a: Handle) -> list[Handle]:
    """``rotate(a, C * k)`` for the B baby steps ``k``."""
    rotations = [a]
    for _ in range(geometry.baby_steps - 1):
        rotations.append(engine.rotate(rotations[-1], geometry.columns))
    return rotations


def key_rotations(
    engine: ServerEngine, geometry: Geometry, key: Handle, giant_steps: range | None = None
) -> Iterator[tuple[int, int, Handle]]:
    """Yield ``(b, a, rotate(key, (C + 1) * a + B * b))`` for a key block in ``skew-``.

    For all ``b`` or those of ``giant_steps``.
    """
    baby, columns = geometry.baby_steps, geometry.columns
    yield from _rotations(engine, geometry, key, columns + 1, baby, giant_steps)


def value_rotations(
    engine: ServerEngine, geometry: Geometry, value: Handle, giant_steps: range | None = None
) -> Iterator[tuple[int, int, Handle]]:
    """Yield ``(b, a, rotate(value, a + B * b - C * B * b))`` for a value block in ``skew+``.

    For all ``b`` or those of ``giant_steps``.
    """
    baby = geometry.baby_steps
    yield from _rotations(engine, geometry, value, 1, baby - geometry.columns * baby, giant_steps)


def skewed_value_start(engine: ServerEngine, geometry: Geometry, value: Handle) -> Handle:
    """Where :func:`skewed_value_rotations` starts: ``rotate(value, T - B + 1)``."""
    baby = geometry.baby_steps
    return rotate_far(engine, value, 1, geometry.tile // baby - 1, baby)


def skewed_value_rotations(
    engine: ServerEngine, geometry: Geometry, start: Handle, giant_steps: range
) -> Iterator[tuple[int, int, Handle]]:
    """Yield ``(b, a, rotate(value, T - a - B * b - C * B * b))`` for values in ``skew-``.

    ``start`` is from :func:`skewed_value_start`. For weights as :func:`finish_scores` leaves
    them. Both groups must hold the tile; only left turns of tokens are used, so group 0 stays
    whole.
    """
    baby = geometry.baby_steps
    for b in range(giant_steps.stop):
        start = start if b == 0 else engine.rotate(start, -baby - geometry.columns * baby)
        if b not in giant_steps:
            continue
        current = start
        for a in reversed(range(baby)):
            yield b, a, current
            if a:
                current = engine.rotate(current, 1)


def rotate_far(engine: ServerEngine, a: Handle, small: int, count: int, large: int) -> Handle:
    """``rotate(a, small + count * large)`` with keys that other kernels need anyway."""
    out = engine.rotate(a, small)
    for _ in range(count):
        out = engine.rotate(out, large)
    return out


def _rotations(
    engine: ServerEngine,
    geometry: Geometry,
    start: Handle,
    small: int,
    large: int,
    giant_steps: range | None,
) -> Iterator[tuple[int, int, Handle]]:
    giant_steps = giant_steps or range(geometry.tile // geometry.baby_steps)
    for b in range(giant_steps.stop):
        start = start if b == 0 else engine.rotate(start, large)
        if b not in giant_steps:
            continue
        current = start
        for a in range(geometry.baby_steps):
            current = current if a == 0 else engine.rotate(current, small)
            yield b, a, current


def accumulate(
    engine: ServerEngine, partial: InnerSums, b: int, left: Handle, right: Handle
) -> None:
    """Add the product of two handles to inner sum ``b``."""
    product = engine.mul(left, right)
    held = partial.get(b)
    partial[b] = product if held is None else engine.add(held, product)


def relinearise_rescale(engine: ServerEngine, partial: InnerSums) -> list[Handle]:
    """Relinearise and rescale the inner sums, in the order of ``b``."""
    return [engine.rescale(engine.relinearise(inner)) for _, inner in sorted(partial.items())]


def join(engine: ServerEngine, geometry: Geometry, settled: list[Handle]) -> Handle:
    """Join all inner sums, settled and in order, by giant steps."""
    total = settled[-1]
    for inner in reversed(settled[:-1]):
        moved = engine.rotate(total, geometry.columns * geometry.baby_steps)
        total = engine.add(moved, inner)
    return total


def finish(engine: ServerEngine, geometry: Geometry, partial: InnerSums) -> Handle:
    """:func:`relinearise_rescale` and :func:`join`."""
    return join(engine, geometry, relinearise_rescale(engine, partial))


def finish_scores(engine: ServerEngine, geometry: Geometry, partial: InnerSums) -> Handle:
    """:func:`finish`, then :func:`sum_windows`."""
    return sum_windows(engine, geometry, finish(engine, geometry, partial))


def sum_windows(engine: ServerEngine, geometry: Geometry, total: Handle) -> Handle:
    """Add up the F / T windows of T features: whole scores."""
    step = geometry.columns * geometry.tile
    return rotate_sum(engine, total, step, geometry.features // geometry.tile)


@dataclass(frozen=True)
class AttentionLayout:
    """Packing of an array ``(heads, queries, keys)``.

    One ciphertext for each head, query tile and key tile, in that order.

    * ``minus``: slot ``(f, i)`` of group 0 holds ``[i, (i - f) mod T]``: what
      :func:`finish_scores` leaves.
    * ``plus``: slot ``(f, i)`` of group 0 holds ``[i, (i + f) mod T]``: what
      products with :func:`value_rotations` expect. Group 1 is zero.
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
