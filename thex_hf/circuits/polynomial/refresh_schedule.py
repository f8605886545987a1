"""After which stages a polynomial encoder is refreshed by the client, and the levels in between.

A circuit is a row of stages: ``2i`` is the attention of layer ``i``, ``2i + 1`` its feed-forward
part. After each but the last, all that the server holds can be one array: it may *refresh* that,
which is to blind it and have the client encrypt it afresh. ``one-shot`` never does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Self

from thex_hf.circuits.batched.layout import BatchLayout
from thex_hf.circuits.context import Handles, Reply
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.polynomial.powers import POWER_LEVELS
from thex_hf.circuits.schedule import Packing, Part, RoundTrip, Schedule
from thex_hf.circuits.shape import Shape
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.packing.layout import Layout
from thex_hf.errors import PlanError

ATTENTION_LEVELS = 3  # projection, scores and context; and those of the power
FFN_LEVELS = 3


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
        """The encrypted ``mask / n``: see :class:`~thex_hf.circuits.schedule.Schedule`."""

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
