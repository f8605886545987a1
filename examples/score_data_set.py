"""Score a data set in clear, simulated and encrypted, with Hugging Face's evaluate.

Reads a TSV file with columns ``label`` and ``text`` (by default 40 sentences about films), gives
its rows to evaluate's evaluator once for each way of running the model, and prints a table: what
the metrics say, how many labels are as in clear, and what a text cost.

By default in clear and simulated: about 25 s in all, imports included, and 0.8 GB of memory on a
2-core machine. ``--fhe execute`` adds real ciphertexts for the first ``--encrypted`` rows: about
3 s for each, and 1.2 GB. Needs ``pip install '.[evaluate]'`` in a clone. For more, and for
files of any size, see the command ``thex-hf evaluate``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from evaluate import evaluator
from transformers import pipeline

import thex_hf.evaluation  # makes the task known to evaluate
from thex_hf.conversion.data.reading import read_texts

DATA = Path(__file__).parent / "data" / "film_reviews.tsv"
MODES = {"disable": "clear", "simulate": "simulated", "execute": "encrypted"}


def read(path: Path) -> Dataset:
    """Rows of a TSV file, labels as numbers in the order of the model's."""
    texts = read_texts(path, label_names=("NEGATIVE", "POSITIVE"))
    return Dataset.from_dict({"text": list(texts.texts), "label": list(texts.labels)})


def score(pipe: Any, rows: Dataset, mode: str, metric: list[str]) -> dict[str, Any]:
    """What evaluate finds in one mode; costs and agreement stand under ``thex``."""
    task = evaluator("thex-text-classification")
    return dict(task.compute(pipe, rows, metric=metric, fhe=mode))


def show(mode: str, found: dict[str, Any], metric: list[str], texts: int) -> None:
    """Print one row of the table."""
    costs = found["thex"]
    figures = "".join(f"{found[name]:>10.3f}" for name in metric)
    same, gap = costs.get("agreement"), costs.get("max_logit_difference")
    seconds, up = costs["seconds"]["server"], costs["bytes"]["up"] / 1e6
    compared = "" if same is None else f"{same:>10.0%}{gap:>12.1e}"
    spent = "" if mode == "disable" else f"{seconds:>10.2f}{up:>7.1f}"
    print(f"{MODES[mode]:<10}{texts:>6}{figures}{compared}{spent}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="TSV file, labels 0 and 1")
    parser.add_argument("--fhe", default="simulate", choices=("execute", "simulate"))
    parser.add_argument("--encrypted", type=int, default=4, help="rows for --fhe execute")
    parser.add_argument("--metric", nargs="+", default=["accuracy", "f1"])
    options = parser.parse_args(argv)

    rows = read(options.data)
    pipe = pipeline("thex-text-classification", model=thex_hf.bundled_checkpoint())
    names = "".join(f"{name:>10}" for name in options.metric)
    print(f"{'mode':<10}{'texts':>6}{names}  as clear  logits off  server s  MB up")
    for mode in ("disable", "simulate"):
        show(mode, score(pipe, rows, mode, options.metric), options.metric, len(rows))
    if options.fhe == "execute":
        some = rows.select(range(min(options.encrypted, len(rows))))
        show("execute", score(pipe, some, "execute", options.metric), options.metric, len(some))


if __name__ == "__main__":
    main()
