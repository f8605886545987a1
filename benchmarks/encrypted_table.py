r"""The converted models of ``conversion_table.py``, simulated and executed on ciphertexts.

    python benchmarks/encrypted_table.py --data DATA --work WORK --recipe the-x --seeds 0

For each task and seed: the exact circuit on numbers over the development texts, at most ``--most``
of them, and real ciphertexts on ``--execute`` of them, spread evenly; each beside the clear model
on the same texts. Results are kept one by one in WORK; ``collect_table.py`` shows them.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from common import surroundings
from tasks import TASKS

from thex_hf.evaluation import evaluate_model

NAMES = {
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "entity_f1": "seqeval",
}


def one(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any] | None:
    """Score one converted model in both ways, as far as it is not done; None if it is not there."""
    model = args.work / "converted" / f"{name}-{args.recipe}-{seed}"
    if not (model / "config.json").is_file():
        return None
    task = TASKS[name]
    metrics = [NAMES.get(metric, metric) for metric in task.metrics]
    found: dict[str, Any] = {"task": name, "seed": seed, "recipe": args.recipe}
    for fhe, limit in (("simulate", args.most), ("execute", args.execute)):
        done = args.work / "encrypted" / f"{name}-{args.recipe}-{seed}-{fhe}.json"
        if limit and not done.is_file():
            scores = evaluate_model(
                str(model), task.read(args.data)[1], fhe=fhe, limit=limit, metrics=metrics
            )
            entry = {**scores.to_json(), "model": model.name, "surroundings": surroundings()}
            done.parent.mkdir(parents=True, exist_ok=True)
            done.write_text(json.dumps(entry, indent=1))
        if done.is_file():
            found[fhe] = json.loads(done.read_text())
    print(json.dumps({**found, **{k: _short(found[k]) for k in found if k in LONG}}), flush=True)
    return found


LONG = ("simulate", "execute")


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("metrics", "clear_metrics", "texts", "agreement", "max_logit_difference")
    return {name: entry[name] for name in names}


def main() -> None:
    """Score what is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option in ("--data", "--work"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--recipe", default="the-x")
    parser.add_argument("--most", type=int, default=100_000, help="texts to simulate; 0: none")
    parser.add_argument("--execute", type=int, default=50, help="texts to execute; 0: none")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for seed in args.seeds:
        for name in args.tasks:
            one(name, seed, args)


if __name__ == "__main__":
    main()
