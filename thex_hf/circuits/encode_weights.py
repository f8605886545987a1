"""Encode a model's diagonals before the first request, with a progress bar.

The circuit is run once on a counting engine whose ``encode`` is the real one's, so exactly
those plaintexts are made that a request will ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thex_hf.circuits.context import Circuit
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.planning import run_symbolically
from thex_hf.ckks.counting import CountingEngine, SymbolicCiphertext
from thex_hf.ckks.engine import AnyVector, Plaintext, ServerEngine
from thex_hf.ckks.plaintext_cache import PlaintextCache


class _Encoder(CountingEngine):
    """Encodes for real; all else is symbolic."""

    def __init__(self, real: ServerEngine, tick: Callable[[], None]) -> None:
        super().__init__(real.slots)
        self._real = real
        self._tick = tick

    def scale_ratio(self, level: int) -> float:
        """That of the real engine: weights are divided by it."""
        return self._real.scale_ratio(level)

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> Plaintext:
        """Encode with the real engine."""
        self._tick()
        return self._real.encode(vector, level, factor=factor)

    def add_plain(self, a: SymbolicCiphertext, p: Plaintext) -> SymbolicCiphertext:
        """A symbolic sum."""
        return a

    def mul_plain(self, a: SymbolicCiphertext, p: Plaintext) -> SymbolicCiphertext:
        """A symbolic product."""
        return SymbolicCiphertext(a.level, degree=2, size=a.size)

    def dot_plain(
        self, handles: Sequence[SymbolicCiphertext], plains: Sequence[Plaintext]
    ) -> SymbolicCiphertext:
        """A symbolic sum."""
        return SymbolicCiphertext(handles[0].level, degree=2, size=max(a.size for a in handles))


def encode_weights(
    engine: ServerEngine,
    cache: PlaintextCache,
    plan: Plan,
    circuit: Circuit,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Fill ``cache`` with the plaintexts of ``plan``; ``tick`` is called for each one."""
    run_symbolically(circuit, _Encoder(engine, tick), cache, plan.schedule, check=False)
