"""One run of the circuit: its engine, stored plaintexts, shape, and linear maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from thex_hf.encrypted.folding import Affine, FoldedLayer
from thex_hf.encrypted.masks import Mask, draw
from thex_hf.encrypted.shape import Shape
from thex_hf.layout.engines import Handle, ServerEngine, Vector
from thex_hf.layout.layout import Layout, Map
from thex_hf.layout.matmul import BabySteps, Matrix, matmul
from thex_hf.layout.plains import PlainStore
from thex_hf.layout.sums import sum_columns

Handles = list[Handle]


@dataclass(frozen=True)
class RangeBits:
    """For each layer, ``b`` such that masked values stay within ``2**b``."""

    value: tuple[int, ...]  # value projection
    stream: tuple[int, ...]  # stream that enters the layer (entry 0 is not masked)


@dataclass(frozen=True)
class Context:
    """What every step of one run shares. Maps consume one level unless said otherwise."""

    engine: ServerEngine
    store: PlainStore
    shape: Shape
    bits: RangeBits
    draw: Callable[[Layout, int], Mask] = draw

    def _tiled(self, handles: Handles, blocks: int) -> list[Handles]:
        return [handles[i : i + blocks] for i in range(0, len(handles), blocks)]

    def _apply(
        self, name: str, affine: Affine, inputs: list[Map], outputs: list[Map], steps: BabySteps
    ) -> Handles:
        matrix = Matrix(name, affine.weight, inputs, outputs)
        out = matmul(self.store, matrix, steps)
        return [
            self._add_bias((name, i), a, affine.bias, outputs[i]) for i, a in enumerate(out)
        ]

    def _add_bias(self, name: tuple[object, ...], a: Handle, bias: Vector, held: Map) -> Handle:
        vector = np.append(bias, 0.0)[held].ravel()
        if not vector.any():
            return a
        level = self.engine.level(a)
        plain = self.store.get(self.engine, (name, "bias"), level, vector, factor=False)
        return self.engine.add_plain(a, plain)

    def _steps(self, handles: Handles, *, skew: bool = False) -> BabySteps:
        return BabySteps(self.engine, self.shape.geometry, handles, skew=skew)

    def _tiles(self, stream: Handles) -> list[Handles]:
        return self._tiled(stream, self.shape.stream("dup").blocks)

    def project_pair(
        self, index: int, layer: FoldedLayer, stream: Handles
    ) -> tuple[Handles, Handles]:
        """Query pieces and value blocks in ``solo`` from the stream in ``dup``."""
        inputs, solo = self.shape.stream("dup").maps(), self.shape.stream("solo").maps()
        query: Handles = []
        value: Handles = []
        for tile in self._tiles(stream):
            steps = self._steps(tile)
            pieces = self.shape.piece_maps("solo")
            query += self._apply(f"{index} query", layer.query, inputs, pieces, steps)
            value += self._apply(f"{index} value", layer.value, inputs, solo, steps)
        return query, value

    def project_keys(self, index: int, layer: FoldedLayer, keys: Handles) -> Handles:
        """Key blocks, skewed, in group 0, from the stream in ``skew-``."""
        inputs, solo = self.shape.stream("skew-").maps(), self.shape.stream("solo").maps()
        out: Handles = []
        for tile in self._tiles(keys):
            steps = self._steps(tile, skew=True)
            out += self._apply(f"{index} key skewed", layer.key, inputs, solo, steps)
        return out

    def project_cls(self, index: int, layer: FoldedLayer, cls: Handles) -> Handles:
        """Query pieces of the [CLS] row in every column of group 0."""
        inputs, pieces = self.shape.stream("row").maps(), self.shape.piece_maps("edge")
        return self._apply(f"{index} query", layer.query, inputs, pieces, self._steps(cls))

    def project_cls_side(self, index: int, layer: FoldedLayer, stream: Handles) -> Handles:
        """Key blocks in group 0 beside value blocks in group 1, from the stream in ``dup``.

        Queries are zero in group 1, so values never enter a score.
        """
        inputs = self.shape.stream("dup").maps()
        solo, back = self.shape.stream("solo").maps(), self.shape.stream("back").maps()
        outputs = [
            np.where(k >= 0, k, np.where(v >= 0, v + self.shape.hidden, -1))
            for k, v in zip(solo, back, strict=True)
        ]
        both = Affine(
            np.vstack([layer.key.weight, layer.value.weight]),
            np.concatenate([layer.key.bias, layer.value.bias]),
        )
        out: Handles = []
        for tile in self._tiles(stream):
            out += self._apply(f"{index} key and value", both, inputs, outputs, self._steps(tile))
        return out

    def attend(
        self, index: int, layer: FoldedLayer, context: Handles, stream: Handles, kind: str
    ) -> Handles:
        """``scale * stream + output projection of context``, in layout ``kind``, level 1."""
        inputs, outputs = self.shape.piece_maps("dup"), self.shape.stream(kind).maps()
        out: Handles = []
        tiles = zip(
            self._tiled(context, len(inputs)), self._tiled(stream, len(outputs)), strict=True
        )
        for tile, residual in tiles:
            steps = self._steps(tile)
            mixed = self._apply(f"{index} output", layer.output, inputs, outputs, steps)
            for block, a in enumerate(mixed):
                kept = self._scaled(index, layer.residual, outputs[block], residual[block], block)
                out.append(self.engine.add(a, self.engine.mod_switch(kept, self.engine.level(a))))
        return out

    def _scaled(self, index: int, scale: Vector, held: Map, a: Handle, block: int) -> Handle:
        vector = np.append(scale, 0.0)[held].ravel()
        key, level = (index, "residual", block), self.engine.level(a)
        plain = self.store.get(self.engine, key, level, vector)
        return self.engine.rescale(self.engine.mul_plain(a, plain))

    def up(self, index: int, layer: FoldedLayer, attended: Handles, *, last: bool) -> Handles:
        """FFN pre-activations."""
        inputs = self.shape.stream("row" if last else "dup").maps()
        outputs = self.shape.ffn(last=last).maps()
        out: Handles = []
        for tile in self._tiled(attended, len(inputs)):
            out += self._apply(f"{index} up", layer.up, inputs, outputs, self._steps(tile))
        return out

    def down(self, index: int, layer: FoldedLayer, wide: Handles) -> Handles:
        """FFN output; each group holds the share of its own hidden features."""
        inputs, dup = self.shape.ffn(last=False).maps(), self.shape.stream("dup").maps()
        solo = self.shape.stream("solo").maps()
        out: Handles = []
        for tile in self._tiled(wide, len(inputs)):
            matrix = Matrix(f"{index} down", layer.down.weight, inputs, dup)
            parts = matmul(self.store, matrix, self._steps(tile))
            out += [
                self._add_bias((index, "down", i), a, layer.down.bias, solo[i])
                for i, a in enumerate(parts)
            ]
        return out

    def logits(self, index: int, layer: FoldedLayer, row: Handles, wide: Handles) -> Handles:
        """Logits in ``cell`` from the [CLS] row and its FFN values; two levels of the latter."""
        assert layer.skip is not None
        answer, fan = self.shape.logits, self.shape.ffn(last=True)
        every = Layout(answer.geometry, "row", 1, answer.features).maps()
        cell = answer.maps()
        bias = Affine(layer.skip, layer.down.bias)
        short = self._apply(
            f"{index} skip", bias, self.shape.stream("row").maps(), cell, self._steps(row)
        )
        matrix = Matrix(f"{index} down", layer.down.weight, fan.maps(), every)
        parts = matmul(self.store, matrix, self._steps(wide))
        out = []
        for block, (a, b) in enumerate(zip(short, parts, strict=True)):
            summed = sum_columns(self.engine, answer.geometry, b, fan.fan)
            keep = (cell[block] >= 0).astype(float).ravel()
            level = self.engine.level(summed)
            plain = self.store.get(self.engine, (index, "cell", block), level, keep)
            out.append(self.engine.add(a, self.engine.rescale(self.engine.mul_plain(summed, plain))))
        return out

    def settle(self, products: Handles) -> Handle:
        """Add products of ciphertexts, rescale and relinearise."""
        total = reduce(self.engine.add, products)
        return self.engine.relinearise(self.engine.rescale(total))

    def hide(self, layout: Layout, handles: Handles, bits: int) -> tuple[Handles, Mask]:
        """Mask values for a ``refresh`` part. Consumes no level."""
        mask = self.draw(layout, bits)
        pairs = zip(handles, mask.vectors, strict=True)
        return [self._shift(a, vector) for a, vector in pairs], mask

    def reveal(self, handles: Handles, mask: Mask, layout: Layout) -> Handles:
        """Take the mask off what came back in another layout. Consumes no level."""
        pairs = zip(handles, layout.pack(-mask.matrix[: layout.tokens]), strict=True)
        return [self._shift(a, vector) for a, vector in pairs]

    def _shift(self, a: Handle, vector: Vector) -> Handle:
        plain = self.engine.encode(vector, self.engine.level(a), factor=False)
        return self.engine.add_plain(a, plain)
