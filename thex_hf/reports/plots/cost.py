"""What the server computes for one text, by stage of the circuit and by operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from thex_hf.circuits.plan import Plan
from thex_hf.reports.plots.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    ROW,
    SKY,
    Subject,
    new_figure,
    rows,
    stage_words,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SWITCHES = {
    "rotations": (BLUE, ("rotate",)),
    "relinearisations": (ORANGE, ("relinearise",)),
    "conjugations": (GREEN, ("conjugate",)),
}
"""Key switches: what most of the time goes into. Colours and verbs of an engine."""

HIDING = ("rerandomise", "blind", "unblind")
OTHERS = {
    "plaintext products": (SKY, ("mul_plain",)),
    "ciphertext products": (RED, ("mul",)),
    "additions": (PINK, ("add", "sub", "add_plain")),
    "rescales and others": (
        GREY,
        ("rescale", "mod_switch", "times_i", *HIDING, "combine"),
    ),
}
KINDS = {**SWITCHES, **OTHERS}


@dataclass(frozen=True)
class StageCost:
    """Operations of one stage, by the names in :data:`KINDS`."""

    layer: str
    stage: str
    operations: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """The stages of a circuit in order, and what each computes."""

    subject: Subject
    stages: tuple[StageCost, ...]

    @property
    def totals(self) -> dict[str, int]:
        """Operations of the whole circuit."""
        return {kind: sum(s.operations[kind] for s in self.stages) for kind in KINDS}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self.subject),
            "stages": [asdict(stage) for stage in self.stages],
            "totals": self.totals,
        }


def read_cost(plan: Plan, model: str) -> Cost:
    """The cost of a plan, stage by stage. Encoding of weights, done once, is left out.

    Args:
        plan: with its counts; one that was read from JSON has none.
        model: its name.
    """
    stages: dict[tuple[str, str], Counter[str]] = {}
    for section, counts in plan.sections.items():
        verbs = stages.setdefault((section.layer, section.stage), Counter())
        for (verb, _), times in counts.items():
            verbs[verb] += times
    return Cost(
        Subject.of(plan, model),
        tuple(StageCost(*name, _by_kind(verbs)) for name, verbs in stages.items()),
    )


def _by_kind(verbs: Counter[str]) -> dict[str, int]:
    return {kind: sum(verbs[verb] for verb in own) for kind, (_, own) in KINDS.items()}


def draw_cost(cost: Cost) -> Figure:
    """Key switches and other operations of each stage, as stacked bars.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    figure = new_figure(cost.subject.title, 1.6 + ROW * len(cost.stages))
    left, right = figure.subplots(1, 2, sharey=True)
    rows(left, [stage_words(stage.layer, stage.stage) for stage in cost.stages])
    right.tick_params(axis="y", length=0)
    totals = cost.totals
    for axes, kinds, name in (
        (left, SWITCHES, "key switches"),
        (right, OTHERS, "other operations"),
    ):
        _stack(axes, cost.stages, [kind for kind in kinds if totals[kind]])
        axes.set_xlabel(f"{name} for one text ({sum(totals[kind] for kind in kinds)} in all)")
    return figure


def _stack(axes: Axes, stages: Sequence[StageCost], kinds: Sequence[str]) -> None:
    ends = [0] * len(stages)
    for kind in kinds:
        widths = [stage.operations[kind] for stage in stages]
        axes.barh(range(len(stages)), widths, left=ends, color=KINDS[kind][0], label=kind)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    tidy(axes, "x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=9)
