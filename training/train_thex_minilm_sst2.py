r"""Fine-tune a MiniLM-L6 on SST-2 and convert it to normalised form.

Run from the repository root::

    python training/train_thex_minilm_sst2.py --encoder MINILM_L6 \
        --train sst2/train.tsv.gz --dev sst2/dev.tsv.gz --target thex-minilm-sst2

``--encoder`` is a folder with ``config.json``, the tokenizer's files and the weights of a BERT
encoder in one ``.safetensors`` file. With ``--teacher`` the fine-tuning also follows a larger
classifier of the same labels, such as ``benchmarks/conversion_table.py`` leaves in its work folder.
The model is too large for the package's wheel: ``--target`` is an ordinary model folder with its
card, and the report is ``training/thex_minilm_sst2.json``. Killed, it goes on when the command is
repeated; it says at the start how long it will take.
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
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from thex_hf.conversion import FitOptions, convert, options_from
from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import read_texts
from thex_hf.conversion.scores import ask, predict
from thex_hf.conversion.training.batches import Batch, encode
from thex_hf.conversion.training.trainer import fit

ROOT = Path(__file__).parents[1]
SETTINGS = {"epochs": 3.0, "learning_rate": 5e-5}
FINE_TUNING_BATCH = 32
AVERAGE = 0.998
"""Decay of the average of the fine-tuned weights: of about the last 500 steps."""

LENGTH = 64
HEAT = 2.0
"""Softens both sides where a teacher's answers are followed."""


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


def taught(encoder: Path, teacher: Path, train: Path, fitting: FitOptions, work: Path) -> Path:
    """Fine-tune an encoder on labels and a classifier's answers, one half each.

    Args:
        encoder: as transformers loads it.
        teacher: folder of a classifier of the same labels.
        train: labelled texts.
        fitting: how long and how fast.
        work: for the result, and for what a killed run goes on from.

    Returns:
        The folder of the result.

    Raises:
        SystemExit: the teacher's labels are others.
    """
    work = work / f"taught-by-{teacher.resolve().name}"
    folder = work / "model"
    if (folder / "model.safetensors").is_file():
        return folder
    texts = read_texts(train)
    names = dict(enumerate(texts.label_names or ()))
    kind, tokenizers = AutoModelForSequenceClassification, AutoTokenizer
    tokenizer = tokenizers.from_pretrained(encoder, trust_remote_code=False)
    work.mkdir(parents=True, exist_ok=True)
    answers = work / "answers.safetensors"
    if not answers.is_file():
        model = kind.from_pretrained(teacher, dtype=torch.float32, trust_remote_code=False)
        if model.config.id2label != names:
            raise SystemExit(f"the teacher's labels are {model.config.id2label}, not {names}")
        own = tokenizers.from_pretrained(teacher, trust_remote_code=False)
        with torch.autocast("cpu", torch.bfloat16):
            logits = predict(model, encode(own, texts, LENGTH))
        assert isinstance(logits, Tensor)
        save_file({"logits": logits}, answers)
    data = encode(tokenizer, texts, LENGTH).with_guide(load_file(answers)["logits"])
    torch.manual_seed(fitting.seed)
    model = kind.from_pretrained(
        encoder,
        dtype=torch.float32,
        trust_remote_code=False,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )

    def loss_of(net: nn.Module, batch: Batch) -> Tensor:
        logits = ask(net, batch)
        wanted = functional.log_softmax(batch["guide"] / HEAT, -1)
        found = functional.log_softmax(logits / HEAT, -1)
        follow = functional.kl_div(found, wanted, log_target=True, reduction="batchmean")
        task = functional.cross_entropy(logits, batch["labels"])
        return 0.5 * task + 0.5 * HEAT**2 * follow

    fit(
        model,
        loss_of,
        data,
        fitting,
        "fine-tuning",
        checkpoint=Checkpoint(work).child("fine-tuning"),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    """Train, convert, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("encoder", "train", "dev", "target"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--teacher", type=Path)
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
        max_length=LENGTH,
        **{**SETTINGS, "epochs": args.epochs},
    )
    tuning = replace(options.fine_tuning, average=AVERAGE, batch_size=FINE_TUNING_BATCH)
    begin = time.perf_counter()
    source = plain_encoder(args.encoder, args.work)
    if args.teacher:
        source = taught(
            source, args.teacher, args.train, replace(tuning, seed=args.seed), args.work
        )
        tuning = replace(tuning, epochs=0.0)
    options = replace(options, fine_tuning=tuning)
    report = convert(
        source,
        args.target,
        train=args.train,
        dev=args.dev,
        options=options,
        pooling=None if args.teacher else args.pooling,
    )
    result = {
        "accuracy": {name: round(value, 2) for name, value in report.stages.items()},
        "drop": round(report.drop, 2),
        "command": "python training/train_thex_minilm_sst2.py --encoder MINILM_L6 --train "
        f"sst2/train.tsv.gz --dev sst2/dev.tsv.gz --target thex-minilm-sst2 --seed {args.seed} "
        f"--effort {args.effort} --epochs {args.epochs} --pooling {args.pooling}"
        + (" --teacher MPNET_SST2" if args.teacher else ""),
        "threads": args.threads,
        "seconds": round(time.perf_counter() - begin),
        **{name: value for name, value in report.to_dict().items() if name != "source"},
    }
    args.report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["accuracy"]))


if __name__ == "__main__":
    main()
