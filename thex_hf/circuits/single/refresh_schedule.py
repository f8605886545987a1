"""Refresh schedules of the circuit for one text: after each stage the state is the stream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from thex_hf.circuits.polynomial.maps import LAST_SHRINK, ROW_SHRINK
from thex_hf.circuits.polynomial.powers import POWER_LEVELS
from thex_hf.circuits.polynomial.refresh_schedule import FFN_LEVELS, RefreshSchedule
from thex_hf.circuits.schedule import Packing
from thex_hf.ckks.packing.layout import Layout

HEAD_LEVELS = 2
MASK_LEVELS = 1  # where every token is read, a mask takes the padded ones out
MEAN_LEVEL, TOKENS_LEVEL = 2, 1  # of those masks: before the last matrix, and after it


@dataclass(frozen=True)
class SingleRefreshSchedule(RefreshSchedule):
    """See :class:`~thex_hf.circuits.polynomial.refresh_schedule.RefreshSchedule`."""

    @cached_property
    def costs(self) -> tuple[int, ...]:
        """Levels of each stage."""
        attention = self.attention_levels
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
