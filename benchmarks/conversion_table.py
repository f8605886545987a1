r"""What a conversion costs in accuracy, task by task: the paper's table beside ours.

    python benchmarks/conversion_table.py --base BASE --data DATA --work WORK --seeds 0 1 2 \
        --tasks sst2 mrpc --recipe the-x --learning-rate 1e-4

BASE is a folder with an encoder to fine-tune (:mod:`training.distil_base` makes the one used).
For each seed and task a classifier is fine-tuned once, kept in WORK, and converted by the recipe.
Results are kept one by one in WORK, so that an interrupted run goes on;
``collect_table.py`` writes what is there to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from recipes import RECIPES
from tasks import TASKS, figures, nearness
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from thex_hf.conversion import FitOptions, convert
from thex_hf.conversion.training.batches import encode
from thex_hf.conversion.training.stages import train_task

LENGTH = 64


def teacher(name: str, seed: int, args: argparse.Namespace) -> Path:
    """Fine-tune the base on one task, or take the model that an earlier run left."""
    folder: Path = args.work / "teachers" / f"{name}-{seed}"
    if (folder / "model.safetensors").is_file():
        return folder
    task = TASKS[name]
    train, _ = task.read(args.data)
    names = train.label_names
    torch.manual_seed(seed)
    kind = AutoModelForSequenceClassification
    if train.kind == "tags":
        kind = AutoModelForTokenClassification
    table = {} if names is None else dict(enumerate(names))
    labels = {"id2label": table, "label2id": {name: i for i, name in table.items()}}
    model = kind.from_pretrained(
        args.base,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        trust_remote_code=False,
        **(labels if table else {"num_labels": 1}),
    )
    tokenizer = AutoTokenizer.from_pretrained(args.base, trust_remote_code=False)
    data = encode(tokenizer, train, LENGTH)
    fitting = FitOptions(
        epochs=args.epochs or task.epochs,
        learning_rate=task.learning_rate or args.learning_rate,
        batch_size=32,
        token_dropout=0.1,
        average=0.99,
        seed=seed,
    )
    train_task(model, data, fitting)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def one(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune and convert for one task and seed; the figures of every stage."""
    done = args.work / "results" / f"{name}-{args.recipe}-{seed}.json"
    if done.is_file():
        found: dict[str, Any] = json.loads(done.read_text())
        return found
    begin = time.perf_counter()
    source = teacher(name, seed, args)
    trained = time.perf_counter()
    task = TASKS[name]
    train, dev = task.read(args.data)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    tags = encode(tokenizer, dev, LENGTH).labels
    stages: dict[str, Any] = {}
    before: list[Any] = []

    def watch(stage: str, logits: Any) -> None:
        before.append(logits)
        stages[stage] = figures(task, dev, tags, logits) | nearness(logits, before[0])
        print(json.dumps({"task": name, "seed": seed, "stage": stage, **stages[stage]}), flush=True)

    options = replace(RECIPES[args.recipe], seed=seed, max_length=LENGTH, overwrite=True)
    output = args.work / "converted" / f"{name}-{args.recipe}-{seed}"
    report = convert(source, output, train=train, dev=dev, options=options, watch=watch)
    record = {
        "task": name,
        "seed": seed,
        "recipe": args.recipe,
        "train_texts": report.train_texts,
        "dev_texts": report.dev_texts,
        "stages": stages,
        "ranges": report.ranges,
        "seconds": {
            "fine_tuning": round(trained - begin, 1),
            "conversion": round(time.perf_counter() - trained, 1),
        },
        "versions": report.versions,
    }
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(json.dumps(record, indent=1))
    return record


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option in ("--base", "--data", "--work"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--recipe", default="the-x", choices=list(RECIPES))
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--epochs", type=float, default=None)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for seed in args.seeds:
        for name in args.tasks:
            one(name, seed, args)


if __name__ == "__main__":
    main()
