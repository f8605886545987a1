"""Where a batch rests at the client, and the levels in between.

Stages are those of the circuit for one text, ``2i`` the attention of layer ``i`` and
``2i + 1`` its FFN. After attention not the stream but the *context* rests, before the output
projection; the stream of before, still at a high level, waits at the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from thex_hf.circuits.batched.layout import BatchLayout
from thex_hf.circuits.polynomial.powers import POWER_LEVELS
from thex_hf.circuits.schedule import Packing, Part, RoundTrip, Schedule
from thex_hf.circuits.shape import Shape
from thex_hf.circuits.single.refresh_schedule import FFN_LEVELS
from thex_hf.errors import PlanError

HEAD_LEVELS = 3  # form, product, and the mask of the answer


@dataclass(frozen=True)
class BatchedRefreshSchedule:
    """One way through the stages.

    Args:
        shape: sizes; of its geometry only the number of slots counts.
        power: exponent of the attention weights.
        rests: numbers of the stages after which the server rests.
        exit_level: level at which what rests leaves.
    """

    shape: Shape
    power: int
    points: tuple[int, ...]
    exit_level: int

    @property
    def texts(self) -> int:
        """Texts in a request (B)."""
        return self.shape.geometry.slots // self.shape.tokens

    @property
    def last(self) -> int:
        """The attention of the last layer, which only [CLS] asks."""
        return 2 * (self.shape.layers - 1)

    @property
    def spreads(self) -> bool:
        """Whether the server itself puts [CLS] in the place of every token."""
        return self.last > 0 and self.last - 1 not in self.points

    @cached_property
    def costs(self) -> tuple[int, ...]:
        """Levels of each stage."""
        attention = 3 + POWER_LEVELS[self.power]
        costs = [FFN_LEVELS if i % 2 else attention for i in range(self.last)]
        return (*costs, attention + int(self.spreads), HEAD_LEVELS)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Level at the start of each stage: of the stream, or after attention of the context.

        A stream is also used by the stage that follows its attention.
        """
        out: list[int] = []
        level = 0
        for stage in reversed(range(len(self.costs))):
            after = level
            if stage in self.points:
                level = self.exit_level
            level += self.costs[stage]
            if stage % 2 == 0:
                level = max(level, after + int(stage == self.last and self.spreads))
            out.append(level)
        return tuple(reversed(out))

    @property
    def top_level(self) -> int:
        """Highest level of the circuit."""
        return max(self.levels)

    def stream(self, kind: str = "pairs") -> BatchLayout:
        """Layout of the stream; ``kind`` is ``pairs`` or ``row``."""
        shape = self.shape
        return BatchLayout(shape.geometry.slots, kind, shape.tokens, shape.hidden)

    @property
    def context(self) -> BatchLayout:
        """Layout of the context: heads side by side, each with an even number of features."""
        shape = self.shape
        features = shape.heads * (shape.head_size + shape.head_size % 2)
        return BatchLayout(shape.geometry.slots, "pairs", shape.tokens, features)

    def packings(self, stage: int) -> tuple[Packing, ...]:
        """How what was encrypted afresh comes in at ``stage``."""
        level = self.levels[stage]
        if stage % 2:
            return ((self.context, level),)
        if stage == self.last and not self.spreads:
            return ((self.stream(), level), (self.stream("row"), level))
        return ((self.stream(), level),)

    def part(self, stage: int) -> Part:
        """The round trip after ``stage``, if the server rests there."""
        sends = self.stream() if stage % 2 else self.context
        return Part("renew", sends, self.exit_level, self.packings(stage + 1))

    def weights_level(self, stage: int) -> int:
        """Level of the attention weights of ``stage``."""
        start = self.levels[stage] - int(stage == self.last and self.spreads)
        return start - 2 - POWER_LEVELS[self.power]

    @cached_property
    def schedule(self) -> Schedule:
        """Request, round trips and answer."""
        shape, slots = self.shape, self.shape.geometry.slots
        mask = BatchLayout(slots, "plain", shape.tokens, 1)
        top = max(self.weights_level(stage) for stage in range(0, self.last + 1, 2)) + 2
        round_trips = []
        for stage in self.points:
            kind = "ffn" if stage % 2 else "attention"
            round_trips.append(RoundTrip(f"layer {stage // 2} {kind}", (self.part(stage),)))
        return Schedule(self.packings(0), tuple(round_trips), self.answer, masks=((mask, top),))

    @property
    def answer(self) -> BatchLayout:
        """How the logits leave."""
        shape = self.shape
        return BatchLayout(shape.geometry.slots, "answer", shape.tokens, shape.labels)


def batched_refresh_schedules(
    shape: Shape, power: int, exit_level: int, most_points: int
) -> list[BatchedRefreshSchedule]:
    """For each number of rests up to ``most_points`` the route with the lowest top level.

    Raises:
        PlanError: the power is not on offer.
    """
    if power not in POWER_LEVELS:
        raise PlanError(f"attention power must be one of {sorted(POWER_LEVELS)}, got {power}")
    places = range(2 * shape.layers - 1)
    best = []
    for count in range(min(most_points, len(places)) + 1):
        every = [
            BatchedRefreshSchedule(shape, power, points, exit_level)
            for points in combinations(places, count)
        ]
        best.append(min(every, key=lambda refreshes: (refreshes.top_level, sum(refreshes.levels))))
    return best
