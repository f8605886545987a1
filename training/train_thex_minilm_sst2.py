r"""Fine-tune a MiniLM-L6 on SST-2 and convert it to normalised form.

Run from the repository root::

    python training/train_thex_minilm_sst2.py --encoder MINILM_L6 \
        --train sst2/train.tsv.gz --dev sst2/dev.tsv.gz --target thex-minilm-sst2

``--encoder`` is a folder with ``config.json``, the tokenizer's files and the weights of a BERT
encoder in one ``.safetensors`` file. The model is too large for the package's wheel: ``--target``
is an ordinary model folder with its card, and the report is ``training/thex_minilm_sst2.json``.
Killed, it goes on when the command is repeated; it says at the start how long it will take.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from thex_hf.conversion import convert, options_from

ROOT = Path(__file__).parents[1]
SETTINGS = {"epochs": 3.0, "learning_rate": 5e-5}
FINE_TUNING_BATCH = 32
AVERAGE = 0.998
"""Decay of the average of the fine-tuned weights: of about the last 500 steps."""


def plain_encoder(folder: Path, target: Path) -> Path:
    """A copy of an encoder as transformers loads it, in float32; the folder of the copy."""
    if (target / "model.safetensors").is_file():
        return target
    target.mkdir(parents=True, exist_ok=True)
    [weights] = folder.glob("*.safetensors")
    for path in folder.glob("*.json"):
        shutil.copyfile(path, target / path.name)
    shutil.copyfile(folder / "vocab.txt", target / "vocab.txt")
    state = {name: value.float() for name, value in load_file(weights).items()}
    save_file(state, target / "model.partial", metadata={"format": "pt"})
    (target / "model.partial").rename(target / "model.safetensors")
    return target


def main() -> None:
    """Train, convert, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("encoder", "train", "dev", "target"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effort", type=float, default=1.0)
    parser.add_argument("--epochs", type=float, default=SETTINGS["epochs"])
    parser.add_argument("--pooling", default="mean", choices=("mean", "cls"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=Path("build") / "minilm-l6")
    parser.add_argument("--report", type=Path, default=ROOT / "training/thex_minilm_sst2.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.set_verbosity_info()
    options = options_from(
        form="normalised",
        effort=args.effort,
        fine_tune=True,
        seed=args.seed,
        max_length=64,
        **{**SETTINGS, "epochs": args.epochs},
    )
    tuning = replace(options.fine_tuning, average=AVERAGE, batch_size=FINE_TUNING_BATCH)
    options = replace(options, fine_tuning=tuning)
    begin = time.perf_counter()
    source = plain_encoder(args.encoder, args.work)
    report = convert(
        source,
        args.target,
        train=args.train,
        dev=args.dev,
        options=options,
        pooling=args.pooling,
    )
    result = {
        "accuracy": {name: round(value, 2) for name, value in report.stages.items()},
        "drop": round(report.drop, 2),
        "command": "python training/train_thex_minilm_sst2.py --encoder MINILM_L6 --train "
        f"sst2/train.tsv.gz --dev sst2/dev.tsv.gz --target thex-minilm-sst2 --seed {args.seed} "
        f"--effort {args.effort} --epochs {args.epochs} --pooling {args.pooling}",
        "threads": args.threads,
        "seconds": round(time.perf_counter() - begin),
        **{name: value for name, value in report.to_dict().items() if name != "source"},
    }
    args.report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["accuracy"]))


if __name__ == "__main__":
    main()
