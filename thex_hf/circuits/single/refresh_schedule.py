"""Where the stream of a polynomial encoder rests at the client, and the levels in between.

A circuit is a row of stages. After each but the last the whole state is one array, the
residual stream: there the server may *rest*, that is, mask it and have the client encrypt it
afresh. ``one-shot`` never rests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from thex_hf.circuits.polynomial.folding import LAST_SHRINK, ROW_SHRINK
from thex_hf.circuits.polynomial.powers import POWER_LEVELS
from thex_hf.circuits.schedule import Packing, Part, RoundTrip, Schedule
from thex_hf.circuits.shape import Shape
from thex_hf.ckks.packing.layout import Layout
from thex_hf.errors import PlanError

HEAD_LEVELS = 2
FFN_LEVELS = 3
MASK_LEVELS = 1  # where every token is read, a mask takes the padded ones out
MEAN_LEVEL, MARKS_LEVEL = 2, 1  # of those masks: before the last matrix, and after it


@dataclass(frozen=True)
class SingleRefreshSchedule:
    """One way through the stages.

    Args:
        shape: sizes and geometry.
        power: exponent of the attention weights.
        rests: numbers of the stages after which the server rests; stage ``2i`` is the
            attention of layer ``i``, stage ``2i + 1`` its FFN.
        exit_level: level at which a masked stream leaves.
    """

    shape: Shape
    power: int
    points: tuple[int, ...]
    exit_level: int

    @cached_property
    def costs(self) -> tuple[int, ...]:
        """Levels of each stage."""
        attention = 3 + POWER_LEVELS[self.power]
        costs = [FFN_LEVELS if i % 2 else attention for i in range(self.cls_stage)]
        if self.shape.head != "cls":
            return (*costs[:-1], FFN_LEVELS + MASK_LEVELS)
        return (*costs, attention - int(self.early_query), HEAD_LEVELS)

    @property
    def cls_stage(self) -> int:
        """The first stage for the [CLS] row only; the number of stages if there is none."""
        return 2 * (self.shape.layers - int(self.shape.head == "cls"))

    @property
    def early_query(self) -> bool:
        """Whether the last layer's query is computed by the layer before it."""
        before_last = self.cls_stage - 1
        return self.shape.head == "cls" and self.shape.layers > 1 and before_last not in self.points

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Level of the stream at the start of each stage."""
        out: list[int] = []
        level = 0
        for stage in reversed(range(len(self.costs))):
            if stage in self.points:
                level = self.exit_level
            level += self.costs[stage]
            out.append(level)
        return tuple(reversed(out))

    @property
    def top_level(self) -> int:
        """Highest level of the circuit."""
        return max(self.levels)

    def packings(self, stage: int) -> tuple[Packing, ...]:
        """How a fresh stream comes in at ``stage``."""
        level, last = self.levels[stage], self.cls_stage
        if stage > last:
            return ((replace(self.shape.stream("row"), shrink=ROW_SHRINK), level),)
        if stage == last:
            kinds = (self.shape.stream("dup"), self.shape.stream("row"))
            return tuple((replace(kind, shrink=LAST_SHRINK), level) for kind in kinds)
        if stage % 2:
            return ((self.shape.stream("dup"), level),)
        return ((self.shape.stream("dup"), level), (self.shape.keys, level - 1))

    @cached_property
    def masks(self) -> tuple[Packing, ...]:
        """The encrypted ``mask / n``: for layers of every token, and for [CLS] or the mean."""
        power, last = POWER_LEVELS[self.power], self.cls_stage
        full = [self.levels[stage] - 1 - power for stage in range(0, last, 2)]
        skewed = [(self._mask("skew-"), max(full))] if full else []
        if self.shape.head == "cls":
            own = self.levels[last] - power - int(not self.early_query)
            return (*skewed, (self._mask("solo"), own))
        mean = [(self._mask("dup"), MEAN_LEVEL)] if self.shape.head == "mean" else []
        return (*skewed, *mean)

    @cached_property
    def marks(self) -> tuple[Packing, ...]:
        """The encrypted mask itself, which keeps logits of padding back."""
        return ((self._mask("solo"), MARKS_LEVEL),) if self.shape.head == "tokens" else ()

    def _mask(self, kind: str) -> Layout:
        """A mask's layout: every row holds it."""
        return Layout(self.shape.geometry, kind, self.shape.tokens, self.shape.geometry.features)

    def sends(self, stage: int) -> Layout:
        """What leaves when the server rests after ``stage``."""
        last = self.cls_stage
        if stage >= last:
            return replace(self.shape.stream("edge"), shrink=ROW_SHRINK)
        if stage % 2 == 0:
            return self.shape.stream("dup")
        return replace(self.shape.stream("solo"), shrink=LAST_SHRINK * (stage + 1 == last))

    def part(self, stage: int) -> Part:
        """The round trip after ``stage``, if the server rests there."""
        return Part("renew", self.sends(stage), self.exit_level, self.packings(stage + 1))

    @cached_property
    def schedule(self) -> Schedule:
        """Request, round trips and answer."""
        round_trips = []
        for stage in self.points:
            kind = "ffn" if stage % 2 else "attention"
            round_trips.append(RoundTrip(f"layer {stage // 2} {kind}", (self.part(stage),)))
        return Schedule(self.packings(0), tuple(round_trips), self.answer, self.masks, self.marks)

    @property
    def answer(self) -> Layout:
        """How the logits leave."""
        shape = self.shape
        layouts = {"cls": shape.bar, "mean": shape.logits, "tokens": shape.token_logits("solo")}
        return layouts[shape.head]


def refresh_schedules(
    shape: Shape, power: int, exit_level: int, most_points: int
) -> list[SingleRefreshSchedule]:
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
            SingleRefreshSchedule(shape, power, points, exit_level)
            for points in combinations(places, count)
        ]
        best.append(min(every, key=lambda refreshes: (refreshes.top_level, sum(refreshes.levels))))
    return best
