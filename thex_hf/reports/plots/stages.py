"""The score after each stage of a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thex_hf.errors import ConversionError
from thex_hf.modeling.cards.measures import REPORT_NAME, STAGES, read_record
from thex_hf.reports.plots.canvas import COLOURS, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = tuple(STAGES)


@dataclass(frozen=True)
class Stages:
    """One model's scores in per cent, by stage in order.

    Args:
        model: its name.
        form: ``the-x`` or ``polynomial``.
        metric: what was measured, as in a conversion report.
        dev_texts: on how many texts.
        scores: by stage.
    """

    model: str
    form: str
    metric: str
    dev_texts: int
    scores: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def read_stages(folder: Path) -> Stages:
    """The stages in a model folder's ``conversion.json``.

    Raises:
        ConversionError: there is no such file, or it is no conversion report.
    """
    report = read_record(folder, REPORT_NAME)
    if report is None:
        raise ConversionError(
            f"{str(folder)!r} should hold a {REPORT_NAME} that thex-hf convert wrote, and there is "
            f"none that can be read: give the folder that a conversion made"
        )
    try:
        # reports of older versions have some stages outside of "stages"
        found = report.get("stages") or {n: report[n] for n in ORDER if report.get(n) is not None}
        scores = {
            str(name): float(value) for name, value in found.items() if value is not None
        }  # None: not defined
        if len(scores) < 2:
            raise ValueError(f"{len(scores)} stages, where two are the least")
        return Stages(
            folder.resolve().name,
            str(report.get("form", "the-x")),
            str(report["metric"]),
            int(report["dev_texts"]),
            scores,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConversionError(
            f"the {REPORT_NAME} of {str(folder)!r} is no conversion report: {error!r}"
        ) from error


def places(models: Sequence[Stages]) -> list[str]:
    """All stages of several models, in order; one that is not known comes before the last."""
    names = dict.fromkeys(name for model in models for name in model.scores)
    last = ORDER[-1:]
    known = [name for name in ORDER[:-1] if name in names]
    return [*known, *(n for n in names if n not in ORDER), *(n for n in last if n in names)]


def draw_stages(models: Sequence[Stages]) -> Figure:
    """One line a model; a stage that a model did not go through has no point.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    metrics = list(dict.fromkeys(model.metric for model in models))
    figure = new_figure("Score after each stage of the conversion, in clear", 3.8)
    axes, names = figure.subplots(), places(models)
    for number, model in enumerate(models):
        own = [name for name in names if name in model.scores]
        axes.plot(
            [names.index(name) for name in own],
            [model.scores[name] for name in own],
            marker="osD^v"[number % 5],
            color=COLOURS[number % len(COLOURS)],
            label=f"{model.model} ({model.form} form, {model.metric} on {model.dev_texts} texts)",
        )
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylabel(f"{', '.join(metrics)}, per cent")
    tidy(axes, "y")
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure
