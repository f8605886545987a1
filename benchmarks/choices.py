r"""What each choice of the normalised form loses, beside what it costs under ``prepared``.

    python benchmarks/choices.py --work WORK --ablation conversion_ablation_minilm_l6 --task sst2 \
        --recipes normalised normalised-degree-2 ...

WORK has the models that ``conversion_table.py`` converted; points lost are those of
``results/ABLATION.json``. Each model is served, tickets are prepared, and texts are classified
through the relay of ``round_trips.py`` at round trips of 1 and 20 ms. Recipes that differ in
training alone cost the same, so one of them is enough. Writes ``results/choices.json`` and ``.md``
(``--keep``: beside those that are there), and ``plots.py`` draws them.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from collect_table import drop
from common import RESULTS, surroundings, write
from load import texts
from round_trips import one
from tasks import TASKS

DELAYS = (1, 20)
RATE = 1000


def losses(ablation: str, task: str, recipe: str) -> dict[str, Any]:
    """Points that a recipe lost, and how near its logits are, the means of its seeds."""
    record = json.loads((RESULTS / f"{ablation}.json").read_text(encoding="utf-8"))
    found = [run for run in record["runs"] if (run["task"], run["recipe"]) == (task, recipe)]
    if not found:
        raise SystemExit(f"no run of {recipe} on {task} in {ablation}.json")
    last = [run["stages"]["converted"] for run in found]
    return {
        "seeds": len(found),
        "drop": statistics.mean(drop(run, TASKS[task].metrics[0]) for run in found),
        "same": statistics.mean(own["same"] for own in last),
        "distance": statistics.mean(own["distance"] for own in last),
    }


def costs(model: Path, wanted: list[str], bucket: int) -> dict[str, Any]:
    """Round trips, bytes and seconds of a text."""
    rows = one("prepared", wanted, bucket, str(model), DELAYS, (RATE,))
    return {
        "rounds": rows[0]["rounds"],
        "bytes": rows[0]["bytes"],
        "ticket_bytes": rows[0]["ticket_bytes"],
        "seconds": {str(row["milliseconds"]): row["seconds"] for row in rows},
        "seconds_all": {str(row["milliseconds"]): row["seconds_all"] for row in rows},
        "surroundings": surroundings(),
    }


def table_of(choices: dict[str, Any]) -> list[list[str]]:
    """A line for each recipe, the quickest first."""
    head = ["recipe", "seeds", "points lost", "same answers", "distance of logits", "round trips"]
    head += ["MB", "MB a ticket", *(f"s at {delay} ms" for delay in DELAYS)]
    table = [head]
    for name, own in sorted(choices.items(), key=lambda item: item[1]["rounds"]):
        table.append(
            [
                name,
                str(own["seeds"]),
                f"{own['drop']:.2f}",
                f"{own['same']:.1f} %",
                f"{own['distance']:.3f}",
                str(own["rounds"]),
                f"{own['bytes'] / 1e6:.1f}",
                f"{own['ticket_bytes'] / 1e6:.1f}",
                *(f"{own['seconds'][str(delay)]:.2f}" for delay in DELAYS),
            ]
        )
    return table


def main() -> None:
    """Measure the recipes in turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--ablation", required=True)
    parser.add_argument("--task", default="sst2", choices=list(TASKS))
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--texts", type=int, default=5)
    parser.add_argument("--file", type=Path, help="a .tsv.gz with a column 'text'")
    parser.add_argument("--bucket", type=int, default=32)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    wanted = (texts(args.file) * args.texts)[: args.texts]
    there = RESULTS / "choices.json"
    choices = json.loads(there.read_text())["choices"] if args.keep and there.exists() else {}
    for recipe in args.recipes:
        model = args.work / "converted" / f"{args.task}-{recipe}-{args.seed}"
        lost = losses(args.ablation, args.task, recipe)
        choices[recipe] = {**lost, **costs(model, wanted, args.bucket)}
        record = {"surroundings": surroundings(), "task": args.task, "choices": choices}
        write("choices", record, table_of(choices))
    print("\n".join(" | ".join(row) for row in table_of(choices)))


if __name__ == "__main__":
    main()
