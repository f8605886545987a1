r"""Gather the ablation that ``conversion_table.py`` left in its work folder.

    for recipe in short labels-only ...; do
        python benchmarks/conversion_table.py --recipe $recipe --tasks sst2 mrpc rte stsb ...
    done
    python benchmarks/collect_ablation.py --work WORK --name conversion_ablation

Writes ``results/NAME.json`` and ``results/NAME.md``: for each recipe of ``recipes.py`` that was run
and each task, by how many points its first metric drops, mean and standard deviation over the
seeds. The unconverted models are the same for all recipes. ``--keep`` keeps the runs that
``results/NAME.json`` has and WORK has not.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from collect_table import drop, earlier, runs, spread
from common import surroundings, write
from recipes import RECIPES
from tasks import TASKS

ARMS = [name for name in RECIPES if name not in ("the-x", "the-x-half", "the-x-wide", "polynomial")]


def main() -> None:
    """Collect all recipes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", default="conversion_ablation")
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc", "rte", "stsb"])
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    before = earlier(args.name) if args.keep else {}
    found = {arm: runs(args.work, arm, before) for arm in ARMS}
    table = [["recipe", *(f"{name} {TASKS[name].metrics[0]}" for name in args.tasks), "mean"]]
    summary: dict[str, dict[str, float]] = {}
    for arm, entries in found.items():
        drops = {
            name: [drop(run, TASKS[name].metrics[0]) for run in entries if run["task"] == name]
            for name in args.tasks
        }
        if all(drops.values()):
            means = {name: round(statistics.mean(own), 2) for name, own in drops.items()}
            summary[arm] = means | {"mean": round(statistics.mean(means.values()), 2)}
            table.append([arm, *map(spread, drops.values()), f"{summary[arm]['mean']:.2f}"])
    record = {
        "surroundings": surroundings(),
        "drop": summary,
        "runs": [run for entries in found.values() for run in entries],
    }
    write(args.name, record, table)


if __name__ == "__main__":
    main()
