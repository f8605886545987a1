"""One run of a circuit: engine, cached plaintexts and shape; and the circuit as a generator."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.flood import NO_FLOOD, Answer, Flood
from thex_hf.circuits.masks import Mask, RangeBits, draw
from thex_hf.circuits.parallel import SEQUENTIAL, ParallelRunner, Task
from thex_hf.circuits.shape import Shape
from thex_hf.ckks.counting import CountingEngine
from thex_hf.ckks.engine import AnyVector, Handle, ServerEngine, Vector
from thex_hf.ckks.packing.layout import FeatureMap, Layout
from thex_hf.ckks.packing.matmul import BabySteps, Matrix, matmul
from thex_hf.ckks.plaintext_cache import PlaintextCache

Handles = list[Handle]


class Target(NamedTuple):
    """One plaintext map to apply: its name in the cache, values, and where results go."""

    name: str
    affine: Affine
    outputs: list[FeatureMap]


@dataclass(frozen=True)
class CircuitRun:
    """One run of a circuit on an engine: the verbs that all circuits build on the engine's.

    Args:
        engine: the server's.
        cache: encoded weights, kept between runs.
    """

    engine: ServerEngine
    cache: PlaintextCache

    def add_all(self, handles: Handles) -> Handle:
        """The sum of all handles."""
        return reduce(self.engine.add, handles)

    def add_vectors(self, handles: Handles, vectors: Sequence[AnyVector]) -> Handles:
        """Add to each handle a vector that is not kept encoded. Consumes no level."""
        return [
            self.engine.add_plain(a, self.engine.encode(v, self.engine.level(a), factor=False))
            for a, v in zip(handles, vectors, strict=True)
        ]

    def flooded(self, handles: Handles, answer: Answer, noise: Flood) -> Handles:
        """Add noise to an answer, see :mod:`.flood`, and a fresh encryption of zero."""
        return [self.engine.rerandomise(a) for a in self.add_vectors(handles, noise.draw(answer))]


@dataclass(frozen=True)
class Context(CircuitRun):
    """A run for one text: what every step of it shares."""

    shape: Shape
    bits: RangeBits
    softmax: str = "estimate"
    draw: Callable[[Layout, int], Mask] = draw
    noise: Flood = NO_FLOOD
    runner: ParallelRunner = SEQUENTIAL

    def begin_stage(self, stage: str, layer: int | str | None = None) -> None:
        """Say which stage begins, for engines that count each apart."""
        if isinstance(self.engine, CountingEngine):
            self.engine.begin_stage(stage, layer)

    def in_parallel(self, *tasks: Task) -> list[Handles]:
        """What each of several independent tasks returns; see :mod:`.parallel`."""
        return self.runner.run(self.engine, tasks)

    def apply(
        self,
        targets: list[Target],
        inputs: list[FeatureMap],
        handles: Handles,
        *,
        skew: bool = False,
    ) -> list[Handles]:
        """Apply several affine maps to the same input. Consumes one level.

        Tile by tile; where not all plaintexts are kept, to all tiles at once, so that each is
        encoded once.

        Args:
            targets: the maps; they share the input's rotations.
            inputs: feature maps of one tile's ciphertexts.
            handles: the input, all tiles.
            skew: the input is in a skewed layout.

        Returns:
            For each target, its handles for all tiles.
        """
        results: list[Handles] = [[] for _ in targets]
        width = len(inputs)
        tiles = [handles[start : start + width] for start in range(0, len(handles), width)]
        for group in [tiles] if self.cache.bound.full else [[tile] for tile in tiles]:
            steps = [BabySteps(self.engine, self.shape.geometry, t, skew=skew) for t in group]
            for target, result in zip(targets, results, strict=True):
                matrix = Matrix(target.name, target.affine.weight, inputs, target.outputs)
                for tile in matmul(self.cache, matrix, steps):
                    result += [
                        self.add_bias(f"{target.name} {n}", a, target.affine.bias, maps)
                        for n, (a, maps) in enumerate(zip(tile, target.outputs, strict=True))
                    ]
        return results

    def add_bias(self, name: str, a: Handle, bias: Vector, feature_map: FeatureMap) -> Handle:
        """Add ``bias[feature]`` to every slot that holds a feature. Consumes no level."""
        vector = np.append(bias, 0.0)[feature_map].ravel()
        if not vector.any():
            return a
        level = self.engine.level(a)
        plain = self.cache.get(self.engine, (name, "bias"), level, vector, factor=False)
        return self.engine.add_plain(a, plain)

    def scale(self, name: str, a: Handle, factor: Vector, feature_map: FeatureMap) -> Handle:
        """Multiply by ``factor[feature]``, slots without a feature by 0. Consumes one level."""
        return self.engine.rescale(self.scale_unrescaled(name, a, factor, feature_map))

    def scale_unrescaled(
        self, name: str, a: Handle, factor: Vector, feature_map: FeatureMap
    ) -> Handle:
        """As :meth:`scale`, without the rescale: for sums of products."""
        vector = np.append(factor, 0.0)[feature_map].ravel()
        plain = self.cache.get(self.engine, (name, "scale"), self.engine.level(a), vector)
        return self.engine.mul_plain(a, plain)

    def sum_products(self, products: Handles) -> Handle:
        """Add products of ciphertexts, relinearise and rescale. Consumes one level."""
        return self.engine.rescale(self.engine.relinearise(self.add_all(products)))

    def mask(self, layout: Layout, handles: Handles, bits: int) -> tuple[Handles, Mask]:
        """Mask values for a ``refresh`` part of ``client-aided``. Consumes no level."""
        self.begin_stage("masks")
        mask = self.draw(layout, bits)
        return self.add_vectors(self.add_vectors(handles, mask.coarse), mask.fine), mask

    def unmask(self, handles: Handles, mask: Mask, layout: Layout) -> Handles:
        """Take the mask off what came back in another layout. Consumes no level."""
        self.begin_stage("masks")
        return self.add_vectors(handles, layout.pack(-mask.matrix[: layout.tokens]))

    def flood(self, handles: Handles, answer: Layout) -> Handles:
        """The answer with noise, rerandomised: see :meth:`CircuitRun.flooded`."""
        self.begin_stage("masks")
        return self.flooded(handles, answer, self.noise)


Reply: TypeAlias = list[list[Handles]]
CircuitSteps: TypeAlias = Generator[list[Handles], Reply, Handles]
"""Yields, at each round trip, the handles of its parts; is sent, for each part, the handles of each
returned packing; returns the handles of the answer."""


class Circuit(Protocol):
    """A circuit with its weights, ready for any engine of its parameters."""

    def __call__(
        self, engine: ServerEngine, cache: PlaintextCache, request: list[Handles]
    ) -> CircuitSteps:
        """Start on a request; ``cache`` keeps encoded weights between runs."""
        ...
