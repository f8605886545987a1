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

from dataclasses import dataclass
from functools import cached_property

import numpy as np

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


def matmul(cache: PlaintextCache, matrix: Matrix, x: BabySteps) -> list[Handle]:
    """Apply ``matrix`` to one tile.

    Returns one handle for each output map, one level lower. Slots whose output map is -1
    are zero: diagonals are zero there, so no masking level is spent.
    """
    return [_one_output(cache, matrix, output, x) for output in range(len(matrix.outputs))]


def _one_output(cache: PlaintextCache, matrix: Matrix, output: int, x: BabySteps) -> Handle:
    engine, geometry = x.engine, x.geometry
    baby, columns, skew = geometry.baby_steps, geometry.columns, int(x.skew)
    run = geometry.tile // baby if x.skew else geometry.features // baby
    total: Handle | None = None
    for start in reversed(range(0, geometry.features // baby, run)):
        part: Handle | None = None
        for giant in reversed(range(start, start + run)):
            if part is not None:
                part = engine.rotate(part, (columns + skew) * baby)
            part = _plus(engine, part, _inner(cache, matrix, output, giant, x))
        if total is not None:
            total = engine.rotate(total, columns * geometry.tile)
        total = _plus(engine, total, part)
    if total is None:  # the whole block of the matrix is zero: still a valid ciphertext
        zero = cache.get(engine, (matrix.name, "zero"), x.level, np.zeros(geometry.slots))
        total = engine.rescale(engine.mul_plain(x.get(0, 0), zero))
    return total


def _plus(engine: ServerEngine, a: Handle | None, b: Handle | None) -> Handle | None:
    if a is None or b is None:
        return b if a is None else a
    return engine.add(a, b)


def _inner(
    cache: PlaintextCache, matrix: Matrix, output: int, giant: int, x: BabySteps
) -> Handle | None:
    """Sum over blocks and baby steps of one giant step, rescaled; None when all zero."""
    engine, geometry = x.engine, x.geometry
    baby = geometry.baby_steps
    shift = geometry.columns * baby * giant
    if x.skew:
        shift += (baby * giant) % geometry.tile
    handles, plains = [], []
    for block in range(len(matrix.inputs)):
        for step in range(baby):
            key = (matrix.name, output, block, giant, step)

            def make(block: int = block, step: int = step) -> Vector | None:
                diagonal = matrix.diagonal(output, block, baby * giant + step).ravel()
                return np.roll(diagonal, shift) if diagonal.any() else None

            plain = cache.get_or_skip(engine, key, x.level, make)
            if plain is not None:
                handles.append(x.get(block, step))
                plains.append(plain)
    return engine.rescale(engine.dot_plain(handles, plains)) if handles else None


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
