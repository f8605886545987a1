"""After which stages a polynomial encoder is refreshed by the client, and the levels in between.

A circuit is a row of stages: ``2i`` is the attention of layer ``i``, ``2i + 1`` its feed-forward
part. After each but the last, all that the server holds can be one array: it may *refresh* that,
which is to blind it and have the client encrypt it afresh. ``one-shot`` never does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Self

from thex_hf.circuits.context import Handles, Reply
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.polynomial.maps import LAST_SHRINK, ROW_SHRINK
from thex_hf.circuits.polynomial.powers import POWER_LEVELS
from thex_hf.circuits.shape import BatchLayout, Packing, Part, RoundTrip, Schedule, Shape
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.packing.layout import Layout
from thex_hf.errors import PlanError

ATTENTION_LEVELS = 3  # projection, scores and context; and those of the power
FFN_LEVELS = 3
ROW_HEAD_LEVELS = 2  # for one text: the head is a form of one row
BATCHED_HEAD_LEVELS = 3  # form, product, and the mask of the answer
MASK_LEVELS = 1  # where every token is read, a mask takes the padded ones out
MEAN_LEVEL, TOKENS_LEVEL = 2, 1  # of those masks: before the last matrix, and after it


@dataclass(frozen=True)
class RefreshSchedule(ABC):
    """One choice of refresh points, and what follows from it.

    Args:
        shape: sizes and geometry.
        power: exponent of the attention weights.
        points: numbers of the stages after which the state is refreshed.
        exit_level: level at which it leaves for the client.
    """

    shape: Shape
    power: int
    points: tuple[int, ...]
    exit_level: int

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The refresh schedule that a plan was made for."""
        options = plan.options
        return cls(plan.shape, options["power"], tuple(options["rests"]), options["exit_level"])

    @classmethod
    def best(cls, shape: Shape, power: int, exit_level: int, most_points: int) -> list[Self]:
        """For each number of points up to ``most_points`` the choice with the lowest top level.

        Raises:
            PlanError: the power is not on offer.
        """
        if power not in POWER_LEVELS:
            raise PlanError(f"attention power must be one of {sorted(POWER_LEVELS)}, got {power}")
        stages = range(2 * shape.layers - 1)
        best = []
        for count in range(min(most_points, len(stages)) + 1):
            every = (
                cls(shape, power, points, exit_level) for points in combinations(stages, count)
            )
            best.append(min(every, key=lambda choice: (choice.top_level, sum(choice.levels))))
        return best

    @property
    @abstractmethod
    def costs(self) -> tuple[int, ...]:
        """Levels of each stage."""

    @abstractmethod
    def packings(self, stage: int) -> tuple[Packing, ...]:
        """How what was encrypted afresh comes in at ``stage``."""

    @abstractmethod
    def sends(self, stage: int) -> Layout | BatchLayout:
        """What leaves when the state is refreshed after ``stage``."""

    @property
    @abstractmethod
    def averaging_masks(self) -> tuple[Packing, ...]:
        """The encrypted ``mask / n``: see :class:`~thex_hf.circuits.shape.Schedule`."""

    @property
    @abstractmethod
    def answer(self) -> Layout | BatchLayout:
        """How the logits leave."""

    @property
    def token_masks(self) -> tuple[Packing, ...]:
        """The encrypted mask itself, if the circuit needs it."""
        return ()

    @property
    def attention_levels(self) -> int:
        """Levels of attention, up to the context."""
        return ATTENTION_LEVELS + POWER_LEVELS[self.power]

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Level at the start of each stage."""
        out: list[int] = []
        following = 0
        for stage in reversed(range(len(self.costs))):
            end = self.exit_level if stage in self.points else following
            following = self.start_level(stage, end + self.costs[stage], following)
            out.append(following)
        return tuple(reversed(out))

    def start_level(self, _stage: int, level: int, _following: int) -> int:
        """Level at the start of a stage, which takes ``level``, given that of the next stage."""
        return level

    @property
    def top_level(self) -> int:
        """Highest level of the circuit."""
        return max(self.levels)

    def part(self, stage: int) -> Part:
        """The round trip after ``stage``, if the state is refreshed there."""
        return Part("renew", self.sends(stage), self.exit_level, self.packings(stage + 1))

    @cached_property
    def schedule(self) -> Schedule:
        """Request, round trips and answer."""
        round_trips = []
        for stage in self.points:
            kind = "ffn" if stage % 2 else "attention"
            round_trips.append(RoundTrip(f"layer {stage // 2} {kind}", (self.part(stage),)))
        return Schedule(
            self.packings(0),
            tuple(round_trips),
            self.answer,
            self.averaging_masks,
            self.token_masks,
        )


@dataclass(frozen=True)
class SingleRefreshSchedule(RefreshSchedule):
    """For one text: after each stage the state is the stream."""

    @cached_property
    def costs(self) -> tuple[int, ...]:
        """Levels of each stage."""
        attention = self.attention_levels
        costs = [FFN_LEVELS if i % 2 else attention for i in range(self.cls_stage)]
        if self.shape.head != "cls":
            return (*costs[:-1], FFN_LEVELS + MASK_LEVELS)
        return (*costs, attention - int(self.early_query), ROW_HEAD_LEVELS)

    @property
    def cls_stage(self) -> int:
        """The first stage for the [CLS] row only; the number of stages if there is none."""
        return 2 * (self.shape.layers - int(self.shape.head == "cls"))

    @property
    def early_query(self) -> bool:
        """Whether the last layer's query is computed by the layer before it."""
        before_last = self.cls_stage - 1
        return self.shape.head == "cls" and self.shape.layers > 1 and before_last not in self.points

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
    def averaging_masks(self) -> tuple[Packing, ...]:
        """The encrypted ``mask / n``: for layers of every token, and for [CLS] or the mean."""
        power, last = POWER_LEVELS[self.power], self.cls_stage
        full = [self.levels[stage] - 1 - power for stage in range(0, last, 2)]
        skewed = [(self._mask("skew-"), max(full))] if full else []
        if self.shape.head == "cls":
            cls_level = self.levels[last] - power - int(not self.early_query)
            return (*skewed, (self._mask("solo"), cls_level))
        mean = [(self._mask("dup"), MEAN_LEVEL)] if self.shape.head == "mean" else []
        return (*skewed, *mean)

    @cached_property
    def token_masks(self) -> tuple[Packing, ...]:
        """The encrypted mask itself, which keeps logits of padding back."""
        return ((self._mask("solo"), TOKENS_LEVEL),) if self.shape.head == "tokens" else ()

    def _mask(self, kind: str) -> Layout:
        """A mask's layout: every row holds it."""
        return Layout(self.shape.geometry, kind, self.shape.tokens, self.shape.geometry.features)

    def sends(self, stage: int) -> Layout:
        """The stream as it leaves after ``stage``."""
        last = self.cls_stage
        if stage >= last:
            return replace(self.shape.stream("edge"), shrink=ROW_SHRINK)
        if stage % 2 == 0:
            return self.shape.stream("dup")
        return replace(self.shape.stream("solo"), shrink=LAST_SHRINK * (stage + 1 == last))

    @property
    def answer(self) -> Layout:
        """How the logits leave."""
        shape = self.shape
        layouts = {"cls": shape.bar, "mean": shape.logits, "tokens": shape.token_logits("solo")}
        return layouts[shape.head]


@dataclass(frozen=True)
class BatchedRefreshSchedule(RefreshSchedule):
    """For many texts: after attention the *context* is refreshed, before the output projection.

    The stream of before, still at a high level, waits at the server. Of the shape's geometry only
    the number of slots counts.
    """

    @property
    def texts(self) -> int:
        """Texts in a request (B)."""
        return self.shape.geometry.slots // self.shape.tokens

    @property
    def last(self) -> int:
        """The attention of the last layer, which only [CLS] asks."""
        return 2 * (self.shape.layers - 1)

    @property
    def broadcasts_cls(self) -> bool:
        """Whether the server itself puts [CLS] in the place of every token."""
        return self.last > 0 and self.last - 1 not in self.points

    @cached_property
    def costs(self) -> tuple[int, ...]:
        """Levels of each stage."""
        attention = self.attention_levels
        costs = [FFN_LEVELS if i % 2 else attention for i in range(self.last)]
        return (*costs, attention + int(self.broadcasts_cls), BATCHED_HEAD_LEVELS)

    def start_level(self, stage: int, level: int, following: int) -> int:
        """Of the stream, or after attention of the context.

        A stream is also used by the stage that follows its attention.
        """
        if stage % 2:
            return level
        return max(level, following + int(stage == self.last and self.broadcasts_cls))

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
        if stage == self.last and not self.broadcasts_cls:
            return ((self.stream(), level), (self.stream("row"), level))
        return ((self.stream(), level),)

    def sends(self, stage: int) -> BatchLayout:
        """Stream or context as it leaves after ``stage``."""
        return self.stream() if stage % 2 else self.context

    def weights_level(self, stage: int) -> int:
        """Level of the attention weights of ``stage``."""
        start = self.levels[stage] - int(stage == self.last and self.broadcasts_cls)
        return start - 2 - POWER_LEVELS[self.power]

    @property
    def averaging_masks(self) -> tuple[Packing, ...]:
        """The encrypted ``mask / n`` of every token."""
        top = max(self.weights_level(stage) for stage in range(0, self.last + 1, 2)) + 2
        return ((BatchLayout(self.shape.geometry.slots, "plain", self.shape.tokens, 1), top),)

    @property
    def answer(self) -> BatchLayout:
        """How the logits leave."""
        shape = self.shape
        return BatchLayout(shape.geometry.slots, "answer", shape.tokens, shape.labels)


def refresh(
    engine: ServerEngine, handles: Handles, part: Part
) -> Generator[list[Handles], Reply, list[Handles]]:
    """Blind handles, have them encrypted afresh, and take the blinding off.

    Args:
        engine: the server's.
        handles: all of one level.
        part: the round trip's only part: how they come back.

    Yields the blinded handles, is sent the client's reply, and returns, for each packing of the
    part, its handles at the packing's level.
    """
    blinded, blinding = engine.blind(handles)
    reply = yield [blinded]
    return [
        engine.unblind(fresh, blinding, move)
        for fresh, (move, _) in zip(reply[0], part.moves, strict=True)
    ]
