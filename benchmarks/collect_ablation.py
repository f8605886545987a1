r"""Gather the ablation that ``conversion_table.py`` left in its work folder.

    for recipe in short labels-only ...; do
        python benchmarks/conversion_table.py --recipe $recipe --tasks sst2 mrpc rte stsb ...
    done
    python benchmarks/collect_ablation.py --work WORK --name conversion_ablation

Writes ``results/NAME.json`` and ``results/NAME.md``: for each recipe of ``recipes.py`` that was run
on every task, by how many points the first metric of each drops, mean and standard deviation over
the seeds; the mean of the tasks; and that mean against the recipe ``short``, of the seeds that both
have: its unconverted models are the very same ones. ``--keep`` keeps the runs that
``results/NAME.json`` has and WORK has not, and names the machines and commits that they were
gathered on (``kept_from``). ``--whole normalised`` does so for ``normalised`` and the recipes that
differ from it in one thing.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from collect_table import drop, earlier, runs, spread
from common import surroundings, write
from recipes import RECIPES
from tasks import TASKS

PARTS = {"short": ("labels-", "logits-", "no-"), "normalised": ("normalised-",)}
"""A whole recipe, and how the names of those begin that are compared with it."""

Drops = dict[str, dict[int, float]]
"""Points lost, by task and seed."""


def drops_of(entries: list[dict[str, Any]], tasks: list[str]) -> Drops:
    """Points lost in the first metric of each task."""
    return {
        name: {
            run["seed"]: drop(run, TASKS[name].metrics[0]) for run in entries if run["task"] == name
        }
        for name in tasks
    }


def means(drops: Drops) -> dict[int, float]:
    """The mean of the tasks, for each seed that was run on all of them."""
    seeds = set.intersection(*(set(own) for own in drops.values()))
    return {seed: statistics.mean(own[seed] for own in drops.values()) for seed in sorted(seeds)}


def main() -> None:
    """Collect all recipes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", default="conversion_ablation")
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc", "rte", "stsb"])
    parser.add_argument("--whole", default="short", choices=list(PARTS))
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    arms = [args.whole, *(name for name in RECIPES if name.startswith(PARTS[args.whole]))]
    before = earlier(args.name) if args.keep else {}
    found = {arm: runs(args.work, arm, before) for arm in arms}
    drops = {arm: drops_of(entries, args.tasks) for arm, entries in found.items()}
    whole = means(drops[args.whole])
    if not whole:
        raise SystemExit(f"no seed with recipe {args.whole!r} finished on all tasks in {args.work}")
    columns = [f"{name} {TASKS[name].metrics[0]}" for name in args.tasks]
    table = [["recipe", "seeds", *columns, "mean", f"against {args.whole}"]]
    summary: dict[str, dict[str, Any]] = {}
    for arm, own in drops.items():
        mean = means(own)
        seeds = sorted(mean.keys() & whole.keys())
        if not seeds:
            continue
        more = spread([mean[seed] - whole[seed] for seed in seeds])
        table.append(
            [
                arm,
                str(len(mean)),
                *(spread(list(by_seed.values())) for by_seed in own.values()),
                spread(list(mean.values())),
                "" if arm == args.whole else more,
            ]
        )
        summary[arm] = {"mean_drop_by_seed": {seed: round(mean[seed], 2) for seed in mean}}
    kept = [before["surroundings"], *before.get("kept_from", [])] if before else []
    record = {
        "surroundings": surroundings(),
        "kept_from": kept,
        "recipes": summary,
        "runs": [run for arm in summary for run in found[arm]],
    }
    write(args.name, record, table)


if __name__ == "__main__":
    main()
