"""What every planner does: run a circuit on the counting engine; weights are encoded likewise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from thex_hf.circuits.context import Circuit
from thex_hf.circuits.masks import Mask
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.shape import Schedule, Shape
from thex_hf.ckks.counting import CountingEngine, SymbolicCiphertext, SymbolicPlaintext
from thex_hf.ckks.engine import AnyVector, Plaintext, ServerEngine
from thex_hf.ckks.packing.layout import Geometry, Layout
from thex_hf.ckks.plaintext_cache import MemoryBound, PlaintextCache
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights

logger = logging.getLogger(__name__)


def shape_of(weights: EncoderWeights, tokens: int, ring_degree: int) -> Shape:
    """The shape of a model for one bucket in one ring.

    Raises:
        PlanError: the ring is too small for any tile.
    """
    return Shape(
        geometry=Geometry.fit(ring_degree // 2, tokens),
        tokens=tokens,
        layers=len(weights.layers),
        hidden=weights.hidden,
        heads=weights.heads,
        intermediate=weights.intermediate,
        labels=weights.labels,
        head=weights.head,
    )


def no_mask(layout: Layout, _bits: int) -> Mask:
    """A mask of zeros, for engines that compute nothing."""
    zeros = np.zeros((layout.tokens, layout.features))
    vectors = layout.pack(zeros)
    return Mask(vectors, vectors, zeros)


def count_operations(circuit: Circuit, schedule: Schedule, slots: int) -> CountingEngine:
    """Run the circuit once on the counting engine, checking every level of the schedule.

    Raises:
        PlanError: a round trip's handles are not at the level that the schedule states.
    """
    engine = CountingEngine(slots)
    run_symbolically(circuit, engine, PlaintextCache(), schedule)
    return engine


def run_symbolically(
    circuit: Circuit,
    engine: CountingEngine,
    cache: PlaintextCache,
    schedule: Schedule,
    *,
    check: bool = True,
) -> None:
    """Take the circuit through its whole schedule on symbolic ciphertexts.

    Raises:
        PlanError: ``check`` is set and what the circuit sends is not what the schedule says.
    """
    request = [
        [SymbolicCiphertext(level)] * layout.ciphertexts for layout, level in schedule.inputs
    ]
    steps = circuit(engine, cache, request)
    ended = False
    try:
        sent = next(steps)
        for round_trip in schedule.round_trips:
            for part, handles in zip(round_trip.parts, sent, strict=True):
                expected = [SymbolicCiphertext(part.level)] * part.sends.ciphertexts
                if check and handles != expected:
                    raise PlanError(
                        f"{round_trip.name}: the circuit sends {handles}, not {expected}"
                    )
            reply = [
                [[SymbolicCiphertext(level)] * layout.ciphertexts for layout, level in part.returns]
                for part in round_trip.parts
            ]
            engine.next_round()
            sent = steps.send(reply)
    except StopIteration as stop:
        ended = True
        if check and stop.value != [SymbolicCiphertext(0)] * schedule.answer.ciphertexts:
            raise PlanError(f"the circuit ends with {stop.value}, not logits") from None
    if check and not ended:
        raise PlanError("the circuit makes more visits than the schedule has")


class _Encoder(CountingEngine):
    """Encodes for real as long as plaintexts are kept; all else is symbolic."""

    def __init__(self, real: ServerEngine, bound: MemoryBound, tick: Callable[[], None]) -> None:
        super().__init__(real.slots)
        self._real = real
        self._bound = bound
        self._tick = tick
        self._sample: tuple[AnyVector, int, bool] | None = None

    def seconds(self) -> float:
        """Of one core, for the last plaintext that was encoded: the middle of three tries."""
        if self._sample is None:
            return 0.0
        vector, level, factor = self._sample
        spent = []
        for _ in range(3):
            begin = time.process_time()
            self._real.encode(vector, level, factor=factor)
            spent.append(time.process_time() - begin)
        return median(spent)

    def scale_ratio(self, level: int) -> float:
        """That of the real engine: weights are divided by it."""
        return self._real.scale_ratio(level)

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> Plaintext:
        """Encode with the real engine, unless it would not be kept."""
        self._tick()
        if self._bound.full:
            return SymbolicPlaintext(level, factor)
        self._sample = vector, level, factor
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
    """Fill ``cache`` with the plaintexts of ``plan``, as many as its bound allows.

    ``tick`` is called for each one. The log says if some are left to be encoded for each text.
    """
    encoder = _Encoder(engine, cache.bound, tick)
    dropped, dropped_bytes = cache.dropped, cache.dropped_bytes
    run_symbolically(circuit, encoder, cache, plan.schedule, check=False)
    dropped, dropped_bytes = cache.dropped - dropped, cache.dropped_bytes - dropped_bytes
    if dropped:
        logger.warning(
            "%d tokens under %s: the %.1f GB that encoded weights may take hold %.1f GB of this "
            "plan; the other %.1f GB are encoded anew for every text, which takes about %.0f s of "
            "one core each time; weights_memory allows more",
            plan.shape.tokens,
            plan.protocol,
            cache.bound.most / 1e9,
            cache.held_bytes / 1e9,
            dropped_bytes / 1e9,
            dropped * encoder.seconds(),
        )
