"""Concrete beside SEAL on the bundled checkpoint: accuracy simulated, sentences executed, costs.

``python benchmarks/tfhe.py DEV.tsv.gz [--execute 5] [--limit N]``; the file has a header row
and columns ``label`` and ``text``. Needs ``thex-hf backend install concrete``. The table of costs
is of one text a row, both engines on one core. Writes results/concrete.json and
results/concrete.md. Takes about an hour.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import surroundings, write
from tqdm.auto import tqdm
from transformers import pipeline

import thex_hf
from thex_hf.concrete import environment
from thex_hf.conversion.data.reading import read_texts

ENGINES = (
    ("seal", "client", (16, 32), 3),
    ("concrete", "client", (8, 16, 32), 1),
    ("concrete", "server", (8, 16), 1),
)
"""Backend, who rectifies the last layer, padded lengths, repetitions."""


def open_pipeline(backend: str, relu: str) -> Any:
    """The pipeline on the bundled checkpoint."""
    return pipeline(
        "thex-text-classification",
        model=thex_hf.bundled_checkpoint("the-x"),
        device=-1,
        backend=backend,
        relu=relu,
    )


def score(texts: list[str], labels: np.ndarray, relu: str) -> dict[str, Any]:
    """Accuracy of the simulation and how near it is to the clear model."""
    pipe = open_pipeline("concrete", relu)
    reports = []
    for text in tqdm(texts, desc=f"simulate, ReLU on the {relu}"):
        pipe(text, fhe="simulate", agreement=True)
        reports.append(pipe.report)
    gaps = [report.agreement.largest_logit_difference for report in reports]
    right = np.array([np.argmax(report.logits) for report in reports]) == labels
    return {
        "texts": len(texts),
        "accuracy": float(100 * right.mean()),
        "same_label_as_clear": sum(report.agreement.same_label for report in reports),
        "largest_logit_difference": max(gaps),
        "median_logit_difference": median(gaps),
    }


def clear_accuracy(texts: list[str], labels: np.ndarray) -> float:
    """Per cent right of the clear model."""
    pipe = open_pipeline("seal", "client")
    pipe(texts, fhe="disable", batch_size=16)
    return float(100 * np.mean([np.argmax(r.logits) for r in pipe.reports] == labels))


def executed(pipe: Any, texts: list[str]) -> list[dict[str, Any]]:
    """Texts on ciphertexts, each beside its simulation."""
    rows = []
    for text in tqdm(texts, desc="execute"):
        pipe(text, fhe="simulate", agreement=True)
        simulated = pipe.report
        pipe(text, fhe="execute", agreement=True)
        report = pipe.report
        difference = np.abs(np.subtract(report.logits, simulated.logits)).max()
        rows.append(
            {
                "tokens": report.bucket,
                "same_label_as_clear": report.agreement.same_label,
                "logit_difference_to_simulation": float(difference),
                "logit_difference_to_clear": report.agreement.largest_logit_difference,
                "server_seconds": report.seconds.server,
                "client_seconds": report.seconds.client,
            }
        )
    return rows


def costs(backend: str, relu: str, size: int, repeats: int, text: str) -> dict[str, Any]:
    """Seconds and bytes of one text of ``size`` tokens; the first run, which makes keys, too."""
    pipe = open_pipeline(backend, relu)
    reports = []
    for _ in tqdm(range(repeats + 1), desc=f"{backend}, ReLU on the {relu}, {size} tokens"):
        pipe(text, fhe="execute")
        reports.append(pipe.report)
    first, *rest = reports
    assert first.bucket == size, (first.bucket, size)
    return {
        "backend": backend,
        "relu": relu,
        "tokens": size,
        "rounds": first.rounds,
        "server_seconds": median(report.seconds.server for report in rest),
        "client_seconds": median(report.seconds.client for report in rest),
        "keygen_seconds": first.seconds.keygen,
        "prepare_seconds": first.seconds.prepare,
        "key_bytes": first.bytes.keys,
        "up_bytes": first.bytes.up,
        "down_bytes": first.bytes.down,
        "learns": pipe.runner.learns,
    }


def text_of(size: int) -> str:
    """A text that fills a bucket: every word of it is one token."""
    return " ".join(["film"] * (size - 2))


def main() -> None:
    """Score, execute, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--execute", type=int, default=5)
    parser.add_argument("--longest", type=int, default=14, help="tokens of executed texts")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    torch.set_num_threads(1)
    data = read_texts(options.dev, label_names=("0", "1"))
    every = list(range(len(data.texts)))[: options.limit]
    texts, labels = [data.texts[i] for i in every], np.asarray(data.labels)[every].astype(int)
    pipe = open_pipeline("concrete", "client")
    lengths = [len(pipe.tokenizer(text)["input_ids"]) for text in texts]
    short = [i for i in every if lengths[i] <= options.longest]
    chosen = np.random.default_rng(0).permutation(short)[: options.execute]
    record: dict[str, Any] = {
        "surroundings": surroundings(),
        "concrete": dict(environment.state().versions),
        "clear_accuracy": clear_accuracy(texts, labels),
        "simulate": {relu: score(texts, labels, relu) for relu in ("client", "server")},
        "executed": {
            relu: executed(open_pipeline("concrete", relu), [texts[i] for i in chosen])
            for relu in ("client", "server")
        },
        "maps": {
            relu: open_pipeline("concrete", relu).runner.session("simulate").plan(8).to_json()
            for relu in ("client", "server")
        },
        "costs": [
            costs(backend, relu, size, repeats, text_of(size))
            for backend, relu, sizes, repeats in ENGINES
            for size in sizes
        ],
    }
    table = [
        ["engine", "ReLU of the last layer", "tokens", "rounds", "server s", "client s",
         "keys s, once", "keys MB, once", "up MB", "down MB"],
        *([row["backend"], row["relu"], str(row["tokens"]), str(row["rounds"]),
           f"{row['server_seconds']:.1f}", f"{row['client_seconds']:.1f}",
           f"{row['keygen_seconds']:.1f}", f"{row['key_bytes'] / 1e6:.1f}",
           f"{row['up_bytes'] / 1e6:.1f}", f"{row['down_bytes'] / 1e6:.1f}"]
          for row in record["costs"]),
    ]  # fmt: skip
    write("concrete", record, table)
    print("\n".join(" ".join(row) for row in table))


if __name__ == "__main__":
    main()
