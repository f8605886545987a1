r"""Convert to polynomial form and bundle the checkpoint thex-tiny-sst2-poly.

Run from the repository root, with the arguments of ``training/train_thex_tiny_sst2.py``::

    python training/train_thex_tiny_sst2_poly.py --embeddings MINILM --encoder BERT_TINY \
        --train sst2/train.tsv.gz --dev sst2/dev.tsv.gz

For each seed: take that script's fine-tuned model from its work folder, or train it; convert it
to polynomial form; measure every stage on the 872 development sentences. The first seed is the
one bundled, whatever its accuracy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from train_thex_tiny_sst2 import CHOICE, bundle, fine_tuned, with_arguments

from thex_hf.conversion import ConversionOptions, ConversionReport, convert

NAME = "thex-tiny-sst2-poly"
STRANGE = {"text_strange": 0.35, "text_long": 0.12}
STAGES = ConversionOptions().polynomial
POLYNOMIAL = replace(
    STAGES,
    bounding=replace(STAGES.bounding, **STRANGE),
    layer_wise=replace(STAGES.layer_wise, **STRANGE),
    end_to_end=replace(STAGES.end_to_end, **STRANGE),
    rounds=8,
    drawn=24576,
)
CONVERSION = ConversionOptions(form="polynomial", overwrite=True, polynomial=POLYNOMIAL)


def convert_one(seed: int, args: argparse.Namespace) -> ConversionReport:
    """Convert the fine-tuned model of one seed, in ``work/seed-N``."""
    source = fine_tuned(seed, args)
    options = replace(CONVERSION, seed=seed)
    target = args.work / f"seed-{seed}" / NAME
    return convert(source, target, train=args.train, dev=args.dev, options=options)


def summary(reports: list[ConversionReport], seconds: float) -> dict[str, Any]:
    """Collect accuracies by seed, their mean and spread, and the settings."""
    stages = list(reports[0].stages)
    columns = {stage: [r.stages[stage] for r in reports] for stage in stages}
    return {
        "dev_texts": reports[0].dev_texts,
        "train_texts": reports[0].train_texts,
        "accuracy_by_seed": {
            str(r.seed): {name: round(value, 2) for name, value in r.stages.items()}
            for r in reports
        },
        "mean": {stage: round(statistics.mean(v), 2) for stage, v in columns.items()},
        "standard_deviation": {
            stage: round(statistics.stdev(v), 2) if len(v) > 1 else None
            for stage, v in columns.items()
        },
        "mean_drop": round(statistics.mean(r.drop for r in reports), 2),
        "bundled_seed": reports[0].seed,
        "remark": CHOICE,
        "bundled_ranges": reports[0].ranges,
        "ranges_by_seed": {str(r.seed): r.ranges for r in reports},
        "approximations": reports[0].approximations,
        "command": "python training/train_thex_tiny_sst2_poly.py --embeddings MINILM_L3 "
        "--encoder BERT_TINY_SST2 --train sst2/train.tsv.gz --dev sst2/dev.tsv.gz --seeds "
        + " ".join(str(r.seed) for r in reports),
        "conversion": reports[0].options,
        "seconds": round(seconds),
        "versions": reports[0].versions,
    }


def main() -> None:
    """Convert all seeds, write the report, bundle the first seed."""
    args = with_arguments(__doc__, NAME, "thex_tiny_sst2_poly.json")
    torch.set_num_threads(1)
    start, reports = time.perf_counter(), []
    for seed in args.seeds:
        reports.append(convert_one(seed, args))
        result = summary(reports, time.perf_counter() - start)
        args.report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(json.dumps({"seed": seed, **result["accuracy_by_seed"][str(seed)]}), flush=True)
        if seed == args.seeds[0]:
            bundle(args.work / f"seed-{seed}" / NAME, args.checkpoint, result, CHOICE)
    bundle(args.work / f"seed-{args.seeds[0]}" / NAME, args.checkpoint, result, CHOICE)


if __name__ == "__main__":
    main()
