"""Refresh schedules of the circuit for many texts.

After attention not the stream is refreshed but the *context*, before the output projection; the
stream of before, still at a high level, waits at the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from thex_hf.circuits.batched.layout import BatchLayout
from thex_hf.circuits.polynomial.powers import POWER_LEVELS
from thex_hf.circuits.polynomial.refresh_schedule import FFN_LEVELS, RefreshSchedule
from thex_hf.circuits.schedule import Packing

HEAD_LEVELS = 3  # form, product, and the mask of the answer


@dataclass(frozen=True)
class BatchedRefreshSchedule(RefreshSchedule):
    """See :class:`~thex_hf.circuits.polynomial.refresh_schedule.RefreshSchedule`.

    Of the shape's geometry only the number of slots counts.
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
        return (*costs, attention + int(self.broadcasts_cls), HEAD_LEVELS)

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
