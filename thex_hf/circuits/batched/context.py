"""One run of a batch: engine, stored plaintexts and route, and the verbs built on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from thex_hf.circuits.batched.folding import both
from thex_hf.circuits.batched.refresh_schedule import BatchedRefreshSchedule
from thex_hf.circuits.context import Handles, RangeBits
from thex_hf.circuits.flood import NO_FLOOD, Flood
from thex_hf.circuits.folding import Affine
from thex_hf.ckks.engine import AnyVector, ComplexVector, Handle, ServerEngine
from thex_hf.ckks.plaintext_cache import PlaintextCache


@dataclass(frozen=True)
class Pairs:
    """Handles of paired features, and their conjugates, made when first asked for."""

    engine: ServerEngine
    handles: Handles

    @cached_property
    def conjugates(self) -> Handles:
        """The complex conjugates. Key switches: one each."""
        return [self.engine.conjugate(a) for a in self.handles]

    def at(self, level: int) -> Pairs:
        """The same at a lower level; conjugates that are there already come along."""
        lower = Pairs(self.engine, self._switched(self.handles, level))
        if "conjugates" in self.__dict__:
            lower.__dict__["conjugates"] = self._switched(self.conjugates, level)
        return lower

    def followed_by(self, other: Pairs) -> Pairs:
        """Both, one after the other; of one level."""
        joined = Pairs(self.engine, self.handles + other.handles)
        joined.__dict__["conjugates"] = self.conjugates + other.conjugates
        return joined

    def _switched(self, handles: Handles, level: int) -> Handles:
        return [self.engine.mod_switch(a, level) for a in handles]


@dataclass(frozen=True)
class BatchContext:
    """What every step of one run shares."""

    engine: ServerEngine
    cache: PlaintextCache
    refreshes: BatchedRefreshSchedule
    bits: RangeBits
    noise: Flood = NO_FLOOD

    def pairs(self, handles: Handles) -> Pairs:
        """Handles as pairs."""
        return Pairs(self.engine, handles)

    def apply(self, affine: Affine, inputs: Pairs) -> Handles:
        """A complex map of the inputs' real features. Levels: 1.

        Conjugates are taken of the inputs or of half the outputs, whichever are fewer.
        """
        straight, turned = both(affine)
        if "conjugates" in inputs.__dict__ or len(affine.bias) > len(inputs.handles):
            weights: ComplexVector = np.hstack([straight, turned])
            return self.engine.combine(inputs.handles + inputs.conjugates, weights, affine.bias)
        return self.apply_both(straight, turned.conj(), affine.bias, inputs.handles)

    def apply_both(
        self, straight: ComplexVector, turned: ComplexVector, bias: AnyVector, handles: Handles
    ) -> Handles:
        """``straight z + conj(turned z) + bias``. Levels: 1. Key switches: one each."""
        count = len(bias)
        weights: ComplexVector = np.vstack([straight, turned])
        shifts: ComplexVector = np.append(bias, np.zeros(count)).astype(np.complex128)
        results = self.engine.combine(handles, weights, shifts)
        conjugates = [self.engine.conjugate(a) for a in results[count:]]
        return [self.engine.add(a, b) for a, b in zip(results[:count], conjugates, strict=True)]

    def add_all(self, handles: Handles) -> Handle:
        """The sum of all handles."""
        return reduce(self.engine.add, handles)

    def settle(self, product: Handle) -> Handle:
        """Relinearise and rescale a sum of products. Levels: 1."""
        return self.engine.rescale(self.engine.relinearise(product))

    def shift(self, a: Handle, number: float) -> Handle:
        """Add one number to every slot."""
        vector, level = np.full(self.engine.slots, number), self.engine.level(a)
        return self.engine.add_plain(a, self.engine.encode(vector, level, factor=False))

    def keep_first(self, handles: Handles) -> Handles:
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

    def spread(self, handles: Handles) -> Handles:
        """Token 0 in the place of every token. Levels: 1."""
        return [self.sum_tokens(a) for a in self.keep_first(handles)]

    def flood(self, handles: Handles) -> Handles:
        """Add noise to the answer, see :mod:`..flood`, and a fresh encryption of zero."""
        noise = self.noise.draw(self.refreshes.answer)
        flooded = [self._add(a, own) for a, own in zip(handles, noise, strict=True)]
        return [self.engine.rerandomise(a) for a in flooded]

    def _add(self, a: Handle, vector: AnyVector) -> Handle:
        plain = self.engine.encode(vector, self.engine.level(a), factor=False)
        return self.engine.add_plain(a, plain)
