"""What the server computes for one text, stage by stage, and how the levels are used up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from thex_hf.circuits.plan import Plan
from thex_hf.circuits.shape import RoundTrip
from thex_hf.reports.plots.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
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
DROPS = ("rescale", "combine")
"""Verbs that end a level lower than they begin."""


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


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Step:
    """One thing that happens to ciphertexts.

    Args:
        name: a stage of the server, ``request``, ``answer``, or a visit with what the client does.
        used: highest level that a stage begins with and lowest that it ends with; None where
            the client is at work.
        leaves: levels at which ciphertexts go to the client.
        enters: levels at which ciphertexts come from the client.
    """

    name: str
    used: tuple[int, int] | None = None
    leaves: tuple[int, ...] = ()
    enters: tuple[int, ...] = ()


@dataclass(frozen=True)
class Levels:
    """The steps of a circuit in order."""

    subject: Subject
    top: int
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        steps = [asdict(step) for step in self.steps]
        return {**asdict(self.subject), "levels": self.top, "steps": steps}


def read_levels(plan: Plan, model: str) -> Levels:
    """The levels of a plan, step by step. Stages that use up no level are left out.

    Args:
        plan: with its counts; one that was read from JSON has none.
        model: its name.
    """
    schedule = plan.schedule
    steps = [Step("request", enters=_distinct([level for _, level in schedule.inputs]))]
    for visit in range(schedule.rounds):
        if visit:
            steps.append(_crossing(visit, schedule.round_trips[visit - 1]))
        steps += [
            Step(stage_words(section.layer, section.stage), used)
            for section, counts in plan.sections.items()
            if section.round == visit and (used := _used(counts))
        ]
    steps.append(Step("answer", leaves=(0,)))
    return Levels(Subject.of(plan, model), plan.levels, tuple(steps))


def _used(counts: Counter[tuple[str, int]]) -> tuple[int, int] | None:
    levels = [level for verb, level in counts if verb in DROPS]
    return (max(levels), min(levels) - 1) if levels else None


def _crossing(number: int, visit: RoundTrip) -> Step:
    does = dict.fromkeys(part.op for part in visit.parts)
    return Step(
        f"visit {number}: {', '.join(does)}",
        leaves=_distinct([part.level for part in visit.parts]),
        enters=_distinct([level for part in visit.parts for _, level in part.returns]),
    )


def _distinct(levels: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(set(levels), reverse=True))


def draw_levels(levels: Levels) -> Figure:
    """Steps from top to bottom, levels from left to right.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    figure = new_figure(levels.subject.title, 1.5 + ROW * len(levels.steps))
    axes = figure.subplots()
    rows(axes, [step.name for step in levels.steps])
    _draw_stages(axes, levels.steps)
    _draw_crossings(axes, levels.steps)
    axes.set_xlim(-0.3, levels.top + 0.3)
    axes.set_xticks(range(levels.top + 1))
    axes.set_xlabel("level: multiplications that a ciphertext still allows")
    tidy(axes, "x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_stages(axes: Axes, steps: Sequence[Step]) -> None:
    used = [(row, step.used) for row, step in enumerate(steps) if step.used]
    axes.barh(
        [row for row, _ in used],
        [high - low for _, (high, low) in used],
        left=[low for _, (_, low) in used],
        height=0.6,
        color=BLUE,
        label="used up by the server",
    )


def _draw_crossings(axes: Axes, steps: Sequence[Step]) -> None:
    for row, step in enumerate(steps):
        if step.used is None:
            axes.axhspan(row - 0.5, row + 0.5, color=PALE, zorder=0)
    marks = (
        ("goes to the client", "v", RED, [(n, s.leaves) for n, s in enumerate(steps)]),
        ("comes from the client", "^", ORANGE, [(n, s.enters) for n, s in enumerate(steps)]),
    )
    for label, marker, colour, found in marks:
        places = [(level, row) for row, own in found for level in own]
        axes.scatter(
            [level for level, _ in places],
            [row for _, row in places],
            marker=marker,
            color=colour,
            edgecolor="black",
            linewidth=0.5,
            s=48,
            zorder=3,
            label=label,
        )
