"""One run of a batch: engine, cached plaintexts and refresh schedule, and verbs built on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.context import CircuitRun, Handles
from thex_hf.circuits.flood import NO_FLOOD, Flood
from thex_hf.circuits.masks import RangeBits
from thex_hf.circuits.polynomial.folding import both
from thex_hf.circuits.polynomial.refresh_schedule import BatchedRefreshSchedule
from thex_hf.ckks.engine import AnyVector, ComplexVector, Handle, ServerEngine


@dataclass(frozen=True)
class FeaturePairs:
    """Handles of paired features, and their conjugates, made when first asked for."""

    engine: ServerEngine
    handles: Handles

    @cached_property
    def conjugates(self) -> Handles:
        """The complex conjugates. Key switches: one each."""
        return [self.engine.conjugate(a) for a in self.handles]

    def at(self, level: int) -> FeaturePairs:
        """The same at a lower level; conjugates that are there already come along."""
        lower = FeaturePairs(self.engine, self._switched(self.handles, level))
        if "conjugates" in self.__dict__:
            lower.__dict__["conjugates"] = self._switched(self.conjugates, level)
        return lower

    def followed_by(self, other: FeaturePairs) -> FeaturePairs:
        """Both, one after the other; of one level."""
        joined = FeaturePairs(self.engine, self.handles + other.handles)
        joined.__dict__["conjugates"] = self.conjugates + other.conjugates
        return joined

    def _switched(self, handles: Handles, level: int) -> Handles:
        return [self.engine.mod_switch(a, level) for a in handles]


@dataclass(frozen=True)
class BatchContext(CircuitRun):
    """A run for a batch: what every step of it shares."""

    refreshes: BatchedRefreshSchedule
    bits: RangeBits
    noise: Flood = NO_FLOOD

    def pairs(self, handles: Handles) -> FeaturePairs:
        """Handles as pairs."""
        return FeaturePairs(self.engine, handles)

    def apply(self, affine: Affine, inputs: FeaturePairs) -> Handles:
        """A complex map of the inputs' real features. Levels: 1.

        Conjugates are taken of the inputs or of half the outputs, whichever are fewer.
        """
        direct, conjugated = both(affine)
        if "conjugates" in inputs.__dict__ or len(affine.bias) > len(inputs.handles):
            weights: ComplexVector = np.hstack([direct, conjugated])
            return self.engine.combine(inputs.handles + inputs.conjugates, weights, affine.bias)
        return self.apply_both(direct, conjugated.conj(), affine.bias, inputs.handles)

    def apply_both(
        self, direct: ComplexVector, conjugated: ComplexVector, bias: AnyVector, handles: Handles
    ) -> Handles:
        """``direct z + conj(conjugated z) + bias``. Levels: 1. Key switches: one each."""
        count = len(bias)
        weights: ComplexVector = np.vstack([direct, conjugated])
        shifts: ComplexVector = np.append(bias, np.zeros(count)).astype(np.complex128)
        results = self.engine.combine(handles, weights, shifts)
        conjugates = [self.engine.conjugate(a) for a in results[count:]]
        return [self.engine.add(a, b) for a, b in zip(results[:count], conjugates, strict=True)]

    def relinearise_rescale(self, product: Handle) -> Handle:
        """Of a sum of products. Levels: 1."""
        return self.engine.rescale(self.engine.relinearise(product))

    def add_number(self, a: Handle, number: float) -> Handle:
        """Add one number to every slot."""
        return self.add_vectors([a], [np.full(self.engine.slots, number)])[0]

    def keep_first_token(self, handles: Handles) -> Handles:
        """Token 0 as it is, zero elsewhere. Levels: 1."""
        level = self.engine.level(handles[0])
        vector = (np.arange(self.engine.slots) < self.refreshes.texts).astype(np.float64)
        plain = self.cache.get(self.engine, "first token", level, vector)
        return [self.engine.rescale(self.engine.mul_plain(a, plain)) for a in handles]

    def sum_tokens(self, a: Handle) -> Handle:
        """The sum over all tokens, in the place of every token. Key switches: log2(tokens)."""
        step = 1
        while step < self.refreshes.shape.tokens:
            a = self.engine.add(a, self.engine.rotate(a, step * self.refreshes.texts))
            step *= 2
        return a

    def broadcast_cls(self, handles: Handles) -> Handles:
        """Token 0 in the place of every token. Levels: 1."""
        return [self.sum_tokens(a) for a in self.keep_first_token(handles)]

    def flood(self, handles: Handles) -> Handles:
        """The answer with noise, rerandomised: see :meth:`CircuitRun.flooded`."""
        return self.flooded(handles, self.refreshes.answer, self.noise)
