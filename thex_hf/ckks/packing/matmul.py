"""Linear maps on slots: encrypted matrix times plaintext matrix, and sums by rotation.

With features outermost, ``y = x @ W.T`` for every token at once is
``sum_k diag_k * rotate(x, k * C)`` over the F diagonals of each block (Halevi and Shoup,
CRYPTO 2014). ``k = k1 + B * k2`` shares the rotations: ``B - 1`` baby steps for each input
ciphertext, shared by all matrices that read it, and ``F / B - 1`` giant steps for each
output. Both use one rotation key each, step by step, since SEAL has no hoisting.

On a skewed layout diagonal ``k`` needs the rotation ``k * C + (k mod T)``; the layout is
closed under plaintext matrices.

Levels: 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from thex_hf.ckks.counting import CountingEngine
from thex_hf.ckks.engine import Handle, ServerEngine, Vector
from thex_hf.ckks.packing.layout import FeatureMap, Geometry
from thex_hf.ckks.plaintext_cache import PlaintextCache


class BabySteps:
    """The input ciphertexts of one tile, rotated by baby steps when first asked for."""

    def __init__(
        self, engine: ServerEngine, geometry: Geometry, inputs: list[Handle], *, skew: bool = False
    ) -> None:
        self.engine = engine
        self.geometry = geometry
        self.skew = skew
        self._rotated = [[handle] for handle in inputs]

    @property
    def level(self) -> int:
        """Level of the inputs."""
        return self.engine.level(self._rotated[0][0])

    def get(self, block: int, step: int) -> Handle:
        """Input ``block`` rotated by ``step`` features (and tokens, when skewed)."""
        chain = self._rotated[block]
        while len(chain) <= step:
            chain.append(self.engine.rotate(chain[-1], self.geometry.columns + int(self.skew)))
        return chain[step]


@dataclass(frozen=True)
class Matrix:
    """A plaintext matrix with the maps of the layouts it reads and writes.

    Args:
        name: unique within a model: names the encoded diagonals in the cache.
        weight: shape ``(out, in)``.
        inputs: one ``(F, C)`` feature map for each input ciphertext of a tile.
        outputs: one ``(F, C)`` feature map for each output ciphertext of a tile.
    """

    name: str
    weight: Vector
    inputs: list[FeatureMap]
    outputs: list[FeatureMap]

    @cached_property
    def _padded(self) -> Vector:
        return np.pad(self.weight, ((0, 1), (0, 1)))  # so that index -1 reads zero

    def diagonal(self, output: int, block: int, k: int) -> Vector:
        """Diagonal ``k`` between two ciphertexts, shape ``(F, C)``."""
        source = np.roll(self.inputs[block], -k, axis=0)
        return np.asarray(self._padded[self.outputs[output], source])

    def is_zero(self, output: int, block: int, k: int) -> bool:
        """Whether :meth:`diagonal` is zero throughout; quicker where it is not."""
        seen = self._seen.get((output, block))
        if seen is None:
            rows, columns = self.outputs[output][:, 0], self.inputs[block][:, 0]
            turned = (np.arange(len(columns))[:, None] + np.arange(len(columns))) % len(columns)
            seen = self._padded[rows, columns[turned]].any(axis=1)  # in the first column of slots
            self._seen[output, block] = seen
        return not seen[k] and not self.diagonal(output, block, k).any()

    @cached_property
    def _seen(self) -> dict[tuple[int, int], NDArray[np.bool_]]:
        return {}

    @cached_property
    def sample(self) -> Vector:
        """A vector in place of any diagonal, for an engine that only counts: finite or not."""
        slots = self.inputs[0].size
        return np.full(slots, 0.0 if np.isfinite(self.weight).all() else np.nan)


def matmul(cache: PlaintextCache, matrix: Matrix, tiles: Sequence[BabySteps]) -> list[list[Handle]]:
    """Apply ``matrix`` to several tiles, of one level; each diagonal is asked for once.

    Returns for each tile one handle for each output map, one level lower. Slots whose output map
    is -1 are zero: diagonals are zero there, so no masking level is spent.
    """
    outputs = [_one_output(cache, matrix, n, tiles) for n in range(len(matrix.outputs))]
    return [list(handles) for handles in zip(*outputs, strict=True)]


def _one_output(
    cache: PlaintextCache, matrix: Matrix, output: int, tiles: Sequence[BabySteps]
) -> list[Handle]:
    """One output of each tile."""
    x = tiles[0]
    engine, geometry = x.engine, x.geometry
    baby, columns, skew = geometry.baby_steps, geometry.columns, int(x.skew)
    run = geometry.tile // baby if x.skew else geometry.features // baby
    totals: list[Handle | None] = [None] * len(tiles)
    for start in reversed(range(0, geometry.features // baby, run)):
        parts: list[Handle | None] = [None] * len(tiles)
        for giant in reversed(range(start, start + run)):
            inner = _inner(cache, matrix, output, giant, tiles)
            parts = _plus(engine, _turned(engine, parts, (columns + skew) * baby), inner)
        totals = _plus(engine, _turned(engine, totals, columns * geometry.tile), parts)
    if totals[0] is None:  # the whole block of the matrix is zero: still a valid ciphertext
        zero = cache.get(engine, (matrix.name, "zero"), x.level, np.zeros(geometry.slots))
        return [engine.rescale(engine.mul_plain(tile.get(0, 0), zero)) for tile in tiles]
    return totals


def _turned(engine: ServerEngine, parts: list[Handle | None], step: int) -> list[Handle | None]:
    return [None if a is None else engine.rotate(a, step) for a in parts]


def _plus(
    engine: ServerEngine, left: list[Handle | None], right: list[Handle | None]
) -> list[Handle | None]:
    return [
        engine.add(a, b) if a is not None and b is not None else a if b is None else b
        for a, b in zip(left, right, strict=True)
    ]


def _inner(
    cache: PlaintextCache, matrix: Matrix, output: int, giant: int, tiles: Sequence[BabySteps]
) -> list[Handle | None]:
    """For each tile the sum over blocks and baby steps of one giant step; None when all zero."""
    x = tiles[0]
    engine, geometry = x.engine, x.geometry
    baby = geometry.baby_steps
    shift = geometry.columns * baby * giant
    if x.skew:
        shift += (baby * giant) % geometry.tile
    sample = matrix.sample if type(engine) is CountingEngine else None
    places, plains = [], []
    for block in range(len(matrix.inputs)):
        for step in range(baby):
            key = (matrix.name, output, block, giant, step)

            def make(block: int = block, step: int = step) -> Vector | None:
                if sample is not None:
                    zero = matrix.is_zero(output, block, baby * giant + step)
                    return None if zero else sample
                diagonal = matrix.diagonal(output, block, baby * giant + step).ravel()
                return np.roll(diagonal, shift) if diagonal.any() else None

            plain = cache.get_or_skip(engine, key, x.level, make)
            if plain is not None:
                places.append((block, step))
                plains.append(plain)
    if not plains:
        return [None] * len(tiles)
    return [
        engine.rescale(engine.dot_plain([tile.get(*place) for place in places], plains))
        for tile in tiles
    ]


def rotate_sum(engine: ServerEngine, a: Handle, step: int, count: int) -> Handle:
    """``sum over k < count of rotate(a, k * step)`` with one rotation key (Horner)."""
    total = a
    for _ in range(count - 1):
        total = engine.add(engine.rotate(total, step), a)
    return total


def sum_features(engine: ServerEngine, geometry: Geometry, a: Handle) -> Handle:
    """Sum over all F feature rows; every row then holds the sum."""
    baby = geometry.baby_steps
    part = rotate_sum(engine, a, geometry.columns, baby)
    return rotate_sum(engine, part, geometry.columns * baby, geometry.features // baby)


def sum_columns(engine: ServerEngine, geometry: Geometry, a: Handle, count: int) -> Handle:
    """Sum over windows of ``count`` columns (a power of two), rightwards.

    With columns that repeat with period ``count``, every column of group 0 then holds the
    whole sum; the last columns of group 1 are spoiled.
    """
    baby = min(geometry.baby_steps, count)
    part = rotate_sum(engine, a, 1, baby)
    return rotate_sum(engine, part, baby, count // baby)


def fill_groups(engine: ServerEngine, geometry: Geometry, a: Handle) -> Handle:
    """Copy group 0 into group 1, which must be zero."""
    return engine.add(a, engine.rotate(a, -geometry.tile))


def fold_groups(engine: ServerEngine, geometry: Geometry, a: Handle) -> Handle:
    """Add group 1 to group 0 (group 1 is spoiled afterwards)."""
    return engine.add(a, engine.rotate(a, geometry.tile))
