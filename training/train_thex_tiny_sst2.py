r"""Train, convert and bundle the checkpoint thex-tiny-sst2.

Run from the repository root; the folders are described in ``training/start_model.py``::

    python training/train_thex_tiny_sst2.py --embeddings MINILM --encoder BERT_TINY \
        --train sst2/train.tsv.gz --dev sst2/dev.tsv.gz

For each seed: build the starting BERT-tiny, fine-tune it unconverted on the 67,349 SST-2
phrases, convert it with :func:`thex_hf.conversion.convert`, and measure every stage on
the 872 development sentences. The first seed is the one bundled, whatever its accuracy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from start_model import build_start
from teacher import train_teacher

from thex_hf.conversion import ConversionOptions, ConversionReport, FitOptions, convert
from thex_hf.conversion.data.reading import read_texts
from thex_hf.conversion.training.batches import encode
from thex_hf.modeling.cards.card import write_card

ROOT = Path(__file__).resolve().parents[1]
NAME = "thex-tiny-sst2"

DROPOUT = 0.15
TEACHER = FitOptions(epochs=2.0, learning_rate=6e-4, token_dropout=0.2, average=0.998)
CONVERSION = ConversionOptions(overwrite=True)
DEV_DATA = {"name": "sst2", "type": "stanfordnlp/sst2", "split": "validation"}
METADATA = {
    "license": "apache-2.0",
    "language": "en",
    "datasets": ["stanfordnlp/sst2"],
    # the encoder's, and those of the word embeddings: see start_model.py
    "base_model": [
        "philschmid/tiny-bert-sst2-distilled",
        "sentence-transformers/paraphrase-MiniLM-L3-v2",
    ],
}


def fine_tuned(seed: int, args: argparse.Namespace) -> Path:
    """Return the folder of the unconverted model of one seed, training it if need be."""
    source: Path = args.work / f"seed-{seed}" / "bert-tiny-sst2"
    if not (source / "config.json").exists():
        model, tokenizer = build_start(args.embeddings, args.encoder, seed, DROPOUT)
        labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
        data = encode(tokenizer, read_texts(args.train, label_names=labels), 128)
        train_teacher(model, data, FitOptions(**{**vars(TEACHER), "seed": seed}))
        model.save_pretrained(source)
        tokenizer.save_pretrained(source)
    return source


def train_one(seed: int, args: argparse.Namespace) -> ConversionReport:
    """Train and convert with one seed, in ``work/seed-N``."""
    source = fine_tuned(seed, args)
    folder = source.parent
    options = ConversionOptions(**{**vars(CONVERSION), "seed": seed})
    return convert(source, folder / NAME, train=args.train, dev=args.dev, options=options)


def summary(reports: list[ConversionReport], seconds: float) -> dict[str, Any]:
    """Collect accuracies by seed, their mean and spread, and the settings."""
    by_seed = {str(r.seed): {s: round(v, 2) for s, v in r.stages.items()} for r in reports}
    columns = {stage: [r.stages[stage] for r in reports] for stage in reports[0].stages}
    return {
        "dev_texts": reports[0].dev_texts,
        "train_texts": reports[0].train_texts,
        "accuracy_by_seed": by_seed,
        "mean": {stage: round(statistics.mean(v), 2) for stage, v in columns.items()},
        "standard_deviation": {
            stage: round(statistics.stdev(v), 2) if len(v) > 1 else None
            for stage, v in columns.items()
        },
        "bundled_seed": reports[0].seed,
        "remark": "settings were chosen on the development texts with the bundled seed",
        "bundled_ranges": reports[0].ranges,
        "command": "python training/train_thex_tiny_sst2.py --embeddings MINILM_L3 "
        "--encoder BERT_TINY_SST2 --train sst2/train.tsv.gz --dev sst2/dev.tsv.gz --seeds "
        + " ".join(str(r.seed) for r in reports),
        "teacher": {**vars(TEACHER), "seed": None, "dropout": DROPOUT},
        "conversion": reports[0].options,
        "seconds": round(seconds),
        "versions": reports[0].versions,
    }


CHOICE = (
    "Settings were chosen by looking at the same development texts with that seed, so its "
    "figure is on the high side"
)


def notes(result: dict[str, Any], choice: str = CHOICE) -> str:
    """Say in the card where the weights come from and how the figures vary."""
    seeds = result["accuracy_by_seed"]
    fairer = (
        f"the mean over the seeds, {result['mean']['converted']}, is fairer to the recipe"
        if len(seeds) > 1
        else "other seeds have not been tried with this recipe"
    )
    return (
        "Word embeddings: principal components of those of paraphrase-MiniLM-L3-v2 "
        "(Apache-2.0). Encoder: started from a published BERT-tiny for SST-2 (repository "
        "FHE-BERT-Tiny, MIT; model by philschmid, Apache-2.0). Trained on the GLUE SST-2 "
        "phrases (Socher et al. 2013).\n\n"
        f"Accuracy by seed: `{json.dumps(seeds)}`. The bundled seed is {result['bundled_seed']}, "
        f"fixed beforehand. {choice}: {fairer}."
    )


def bundle(folder: Path, target: Path, result: dict[str, Any], choice: str = CHOICE) -> None:
    """Copy the converted model to where the package ships it, with a fresh card."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    for path in target.iterdir():
        path.chmod(0o644)
    path = target / "conversion.json"
    report = {**json.loads(path.read_text(encoding="utf-8")), "dev_data": DEV_DATA}
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (target / "README.md").unlink()
    write_card(target, report, notes=notes(result, choice), metadata=METADATA)


def with_arguments(documentation: str, name: str, report: str) -> argparse.Namespace:
    """Read the command line, which is the same for both forms; they share a work folder."""
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    for name in ("embeddings", "encoder", "train", "dev"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("build") / NAME)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "thex_hf/checkpoints" / name)
    parser.add_argument("--report", type=Path, default=ROOT / "training" / report)
    return parser.parse_args()


def main() -> None:
    """Train all seeds, write the report, bundle the first seed."""
    args = with_arguments(__doc__, NAME, "thex_tiny_sst2.json")
    torch.set_num_threads(1)
    start, reports = time.perf_counter(), []
    for seed in args.seeds:
        reports.append(train_one(seed, args))
        result = summary(reports, time.perf_counter() - start)
        args.report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(json.dumps({"seed": seed, **result["accuracy_by_seed"][str(seed)]}), flush=True)
        if seed == args.seeds[0]:
            bundle(args.work / f"seed-{seed}" / NAME, args.checkpoint, result)
    bundle(args.work / f"seed-{args.seeds[0]}" / NAME, args.checkpoint, result)


if __name__ == "__main__":
    main()
