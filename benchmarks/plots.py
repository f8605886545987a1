"""Draw the figures of the documentation into docs/images.

``python benchmarks/plots.py [--scores dev.tsv [--pair SOURCE CONVERTED]]``. From the bundled
checkpoints and committed results; needs ``pip install 'thex_hf[plots]'``. With ``--scores`` the
attention scores are first measured anew on all texts of a file, into results/scores.json: those of
the bundled models, and with ``--pair`` those of a model before and after its conversion. Takes
about a minute.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, surroundings

import thex_hf
from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.protocols import CIRCUITS, FORMS, PlanOptions
from thex_hf.reports.plots.canvas import (
    BLUE,
    GREY,
    ORANGE,
    SKY,
    new_figure,
    rows,
    save,
    tidy,
)
from thex_hf.reports.plots.plan import draw_cost, draw_levels, read_cost, read_levels
from thex_hf.reports.plots.protocols import draw_protocols, read_protocols
from thex_hf.reports.plots.scores import Scores, draw_scores
from thex_hf.reports.plots.stages import draw_stages, read_stages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thex_hf.circuits.plan import Plan

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SCORES = RESULTS / "scores.json"
TOKENS = 32
MOST_BYTES = 120_000


def checkpoints() -> list[Path]:
    """The bundled checkpoints' folders, one a form."""
    return [Path(thex_hf.bundled_checkpoint(form)) for form in dict.fromkeys(FORMS.values())]


def model_of(folder: Path) -> Any:
    """A bundled model in float32."""
    return thex_hf.ThexBertForSequenceClassification.from_pretrained(folder).float()


def plans() -> dict[str, tuple[Plan, str]]:
    """For each protocol the plan, and the name of the model."""
    found = {}
    for protocol, form in ((name, FORMS[name]) for name in CIRCUITS):
        folder = Path(thex_hf.bundled_checkpoint(form))
        model = model_of(folder)
        weights, config = model.encoder_weights(), model.config
        found[protocol] = (
            plan_for(weights, TOKENS, config.ranges, PlanOptions(protocol, config.softmax)),
            folder.name,
        )
    return found


def measure_scores(data: str, pair: list[Path] | None) -> None:
    """Attention scores of models on a file of texts, into results/scores.json."""
    from transformers import AutoTokenizer

    from thex_hf.reports.plots import scores

    texts = scores.score_texts(data)

    def own(folder: Path, opened: Any = None, **options: Any) -> dict[str, Any]:
        model, tokenizer = opened or (
            model_of(folder),
            AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        )
        found = scores.measure_scores(
            model, tokenizer, texts, folder.name, limit=len(texts), **options
        )
        return found.to_json()

    record = json.loads(SCORES.read_text())
    record |= {
        "surroundings": surroundings(),
        "data": "/".join(Path(data).parts[-2:]),
        "rows": [own(folder) for folder in checkpoints()],
    }
    if pair:
        source, converted = pair
        model = model_of(converted)
        good = scores.intervals_of(model)
        before = own(source, scores.open_source(source, model), intervals=good)
        record["pair"] = [before, own(converted)]
    SCORES.write_text(json.dumps(record, indent=1) + "\n")


def draw_choices(record: dict[str, Any]) -> Figure:
    """What each choice of the normalised form costs and loses: ``results/choices.json``."""
    found = sorted(record["choices"].items(), key=lambda item: item[1]["rounds"])
    words = [f"{name.removeprefix('normalised-')}, {own['rounds']} trips" for name, own in found]
    figure = new_figure(
        "MiniLM-L6 in normalised form, prepared, 32 tokens", 1.4 + 0.45 * len(found)
    )
    costs, losses = figure.subplots(1, 2, sharey=True)
    for place, (delay, colour) in enumerate(zip(("1", "20"), (SKY, BLUE), strict=True)):
        bars = [own["seconds"][delay] for _, own in found]
        at = [row + 0.36 * (place - 0.5) for row in range(len(found))]
        costs.barh(at, bars, height=0.34, color=colour, label=f"round trip of {delay} ms")
    losses.plot([own["drop"] for _, own in found], range(len(found)), "o", color=ORANGE)
    losses.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    rows(costs, words)
    costs.set_xlabel("seconds of a text", fontsize=9)
    losses.set_xlabel("points lost", fontsize=9)
    losses.tick_params(axis="y", length=0)
    costs.legend(fontsize=8, frameon=False)
    for axes in (costs, losses):
        tidy(axes, "x")
    return figure


def figures() -> dict[str, Figure]:
    """All figures by the name of their file."""
    drawn = {}
    for protocol, own in plans().items():
        drawn[f"levels-{protocol}"] = draw_levels(read_levels(*own))
        if protocol == "client-aided":
            drawn[f"cost-{protocol}"] = draw_cost(read_cost(*own))
    drawn["stages"] = draw_stages([read_stages(folder) for folder in checkpoints()])
    costs = read_protocols((RESULTS / "protocols.json").read_text(), "protocols.json")
    shown = [cost for cost in costs if cost.tokens == TOKENS]
    drawn["protocols"] = draw_protocols(shown, "bundled models")
    scores = json.loads(SCORES.read_text())
    for name, key in (("scores", "rows"), ("scores-before-after", "pair")):
        drawn[name] = draw_scores([Scores.from_json(row) for row in scores[key]])
    choices = RESULTS / "choices.json"
    if choices.exists():
        drawn["choices"] = draw_choices(json.loads(choices.read_text()))
    return drawn


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", metavar="FILE", help="measure attention scores on these texts")
    parser.add_argument(
        "--pair", type=Path, nargs=2, metavar=("SOURCE", "CONVERTED"), help="before and after"
    )
    options = parser.parse_args()
    if options.scores:
        measure_scores(options.scores, options.pair)
    IMAGES.mkdir(exist_ok=True)
    for name, figure in figures().items():
        size = save(figure, IMAGES / f"{name}.png").stat().st_size
        print(f"{name}.png: {size} bytes")
        if size > MOST_BYTES:
            raise SystemExit(f"{name}.png has {size} bytes; {MOST_BYTES} are the most")


if __name__ == "__main__":
    main()
