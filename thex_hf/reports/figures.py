"""Figures for a model card: the score by stage, and levels and costs of each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.shape import bucket
from thex_hf.modeling.cards.measures import REPORT_NAME
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier
from thex_hf.reports.plots.canvas import save
from thex_hf.reports.plots.cost import draw_cost, read_cost
from thex_hf.reports.plots.levels import draw_levels, read_levels
from thex_hf.reports.plots.stages import draw_stages, read_stages

FOLDER = "figures"


def draw_figures(
    place: Path,
    model: ThexBertClassifier,
    protocols: Sequence[str],
    *,
    tokens: int,
    ring: int | None,
) -> list[list[str]]:
    """Draw into ``figures/`` of a model's folder.

    Args:
        place: the model's folder; the stages are those of its ``conversion.json``, if there is one.
        model: that is in it.
        protocols: to draw levels and costs of.
        tokens: length of the text that is planned.
        ring: ring degree for ``refresh`` and ``one-shot``; the cheapest if None.

    Returns:
        For each figure its path below the folder, and what it shows.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    name, config = place.resolve().name, model.config
    drawn = {}
    if (place / REPORT_NAME).is_file():
        drawn["stages"] = draw_stages([read_stages(place)]), "score after each stage"
    for protocol in protocols:
        plan = plan_for(
            model.encoder_weights(),
            bucket(tokens),
            config.ranges,
            protocol=protocol,
            softmax=config.softmax,
            ring_degree=ring,
        )
        costs, levels = draw_cost(read_cost(plan, name)), draw_levels(read_levels(plan, name))
        drawn[f"cost-{protocol}"] = costs, f"operations of each stage under {protocol}"
        drawn[f"levels-{protocol}"] = levels, f"levels of each stage under {protocol}"
    (place / FOLDER).mkdir(exist_ok=True)
    found = []
    for key, (figure, words) in drawn.items():
        save(figure, place / FOLDER / f"{key}.png")
        found.append([f"{FOLDER}/{key}.png", words])
    return found
