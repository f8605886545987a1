r"""Gather what ``conversion_table.py`` left in its work folder: the paper's table beside ours.

    python benchmarks/collect_table.py --work WORK --recipe the-x --name conversion_the_x

Writes ``results/NAME.json`` with every run and ``results/NAME.md``: for each task and metric the
mean and standard deviation over the seeds, stage by stage, the drop from the unconverted model,
what ``encrypted_table.py`` found (simulated: the score on all development texts, and how many
answers were those of the clear model; executed: the same share and the largest difference of a
logit), and THE-X's published figures (Chen et al. 2022, table 1) for BERT-tiny, unless
``--no-paper`` is given. ``--keep`` keeps the runs that ``results/NAME.json`` has and WORK has not,
and names the machines and commits that they were gathered on (``kept_from``).
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from common import RESULTS, surroundings, write
from encrypted_table import NAMES
from tasks import TASKS

PAPER = {
    ("sst2", "accuracy"): (82.45, 82.40, 82.34, 82.11),
    ("mrpc", "f1"): (81.57, 81.69, 80.81, 79.93),
    ("mrpc", "accuracy"): (70.10, 70.34, 69.85, 68.87),
    ("stsb", "pearson"): (72.83, 72.89, 74.19, 68.38),
    ("stsb", "spearman"): (73.66, 73.03, 74.27, 70.96),
    ("qqp", "f1"): (80.28, 79.55, 79.38, 78.28),
    ("qqp", "accuracy"): (84.03, 82.89, 83.36, 83.75),
    ("mnli", "accuracy"): (69.75, 69.51, 68.61, 68.59),
    ("qnli", "accuracy"): (78.38, 78.35, 78.33, 78.33),
    ("rte", "accuracy"): (58.56, 58.32, 58.27, 58.12),
    ("conll2003", "entity_f1"): (83.57, 83.69, 83.38, 81.67),
}
"""Baseline, ReLU, ReLU and softmax, all three; on the tasks' full training sets."""


def earlier(name: str) -> dict[str, Any]:
    """What ``results/NAME.json`` holds already; nothing if it is not there."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def runs(work: Path, recipe: str, before: dict[str, Any]) -> list[dict[str, Any]]:
    """All finished runs of a recipe, by task and seed; those in WORK replace those of before."""
    files = sorted((work / "results").glob(f"*-{recipe}-[0-9]*.json"))
    new = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    old = [run for run in before.get("runs", []) if run["recipe"] == recipe]
    found = {(run["task"], run["seed"]): run for run in [*old, *new]}
    order = list(TASKS)
    return sorted(found.values(), key=lambda run: (order.index(run["task"]), run["seed"]))


def encrypted(
    work: Path, recipe: str, fhe: str, before: dict[str, Any]
) -> dict[tuple[str, int], dict[str, Any]]:
    """What was simulated or executed, by task and seed."""
    found = {}
    for key, entry in before.get("encrypted", {}).get(fhe, {}).items():
        task, seed = key.rsplit("-", 1)
        found[task, int(seed)] = entry
    for path in sorted((work / "encrypted").glob(f"*-{recipe}-[0-9]*-{fhe}.json")):
        task, seed = path.name.removesuffix(f"-{fhe}.json").rsplit(f"-{recipe}-", 1)
        found[task, int(seed)] = json.loads(path.read_text(encoding="utf-8"))
    return found


def row(
    own: list[dict[str, Any]],
    metric: str,
    stages: list[str],
    simulated: list[dict[str, Any]],
    executed: list[dict[str, Any]],
) -> list[str]:
    """One line of the table: a task and metric over its seeds."""
    task = own[0]["task"]
    cells = [task, metric, str(len(own))]
    for stage in stages:
        found = [run["stages"][stage][metric] for run in own if stage in run["stages"]]
        cells.append(spread(found) if found else "")
    drops = [drop(run, metric) for run in own]
    cells.append(spread(drops))
    name = NAMES.get(metric, metric)
    name = "overall_f1" if name == "seqeval" else name
    cells.append(_simulated(simulated, name))
    cells.append(_agreed(executed))
    return cells


def paper_cells(task: str, metric: str) -> list[str]:
    """THE-X's published scores by stage, and the drop."""
    published = PAPER.get((task, metric))
    if published is None:
        return ["", ""]
    return [" / ".join(f"{v:.2f}" for v in published), f"{published[0] - published[-1]:.2f}"]


def drop(run: dict[str, Any], metric: str) -> float:
    """Points lost from the unconverted to the converted model."""
    stages = run["stages"]
    return float(stages["unconverted"][metric] - stages["converted"][metric])


def _simulated(entries: list[dict[str, Any]], metric: str) -> str:
    """The score, and how many answers are those of the clear model."""
    if not entries:
        return ""
    score = spread([100.0 * entry["metrics"][metric] for entry in entries])
    if entries[0]["agreement"] is None:
        return score
    return f"{score}, {100 * statistics.mean(entry['agreement'] for entry in entries):.1f} %"


def _agreed(executed: list[dict[str, Any]]) -> str:
    """Answers as in clear out of all, and the largest difference of a logit."""
    if not executed:
        return ""
    gap = max(entry["max_logit_difference"] for entry in executed)
    if executed[0]["agreement"] is None:  # numbers: nothing to agree on
        return f"gap {gap:.1e}"
    unit = " of words" if executed[0]["kind"] == "tags" else ""
    share = statistics.mean(entry["agreement"] for entry in executed)
    return f"{100 * share:.1f} %{unit}, gap {gap:.1e}"


def spread(values: list[float]) -> str:
    """Mean, and standard deviation if there are several."""
    mean = statistics.mean(values)
    return f"{mean:.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def main() -> None:
    """Collect one recipe."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--paper", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    before = earlier(args.name) if args.keep else {}
    found = runs(args.work, args.recipe, before)
    if not found:
        raise SystemExit(f"no finished run of recipe {args.recipe!r} in {args.work}")
    stages: list[str] = max((list(run["stages"]) for run in found), key=len)
    head = ["task", "metric", "seeds", *stages, "drop", "simulated", "executed"]
    head += ["paper", "its drop"] if args.paper else []
    modes = ("simulate", "execute")
    seen = {fhe: encrypted(args.work, args.recipe, fhe, before) for fhe in modes}
    table, drops = [head], {}
    for name in dict.fromkeys(run["task"] for run in found):
        own = [run for run in found if run["task"] == name]
        drops[name] = statistics.mean(drop(run, TASKS[name].metrics[0]) for run in own)
        both = [[v for (task, _), v in seen[fhe].items() if task == name] for fhe in seen]
        for metric in TASKS[name].metrics:
            published = paper_cells(name, metric) if args.paper else []
            table.append([*row(own, metric, stages, *both), *published])
    kept = [before["surroundings"], *before.get("kept_from", [])] if before else []
    record = {
        "surroundings": surroundings(),
        "kept_from": kept,
        "recipe": args.recipe,
        "mean_drop_of_first_metrics": round(statistics.mean(drops.values()), 2),
        "drop_of_first_metric": {name: round(value, 2) for name, value in drops.items()},
        "notes": {name: TASKS[name].note for name in drops if TASKS[name].note},
        "encrypted": {
            fhe: {f"{task}-{seed}": entry for (task, seed), entry in entries.items()}
            for fhe, entries in seen.items()
        },
        "runs": found,
    }
    write(args.name, record, table)


if __name__ == "__main__":
    main()
