"""Make a tiny random BERT and toy data, convert it to THE-X form, and classify with it.

About 30 s in all, imports included, and 0.5 GB of memory on a 2-core machine; needs no
network. The model is far too small to be of use: what counts is the order of the steps,
which is the same for yours.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, pipeline

import thex_hf  # noqa: F401  (makes the task known to transformers)
from thex_hf.conversion import convert, options_from

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GOOD = ["good", "great", "fine", "nice", "lovely"]
BAD = ["bad", "poor", "dull", "awful", "sad"]
OTHER = ["a", "film", "the", "plot", "very"]


def make_bert(folder: Path) -> Path:
    """A random BERT classifier with its tokenizer, in place of your fine-tuned one."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=32,
        initializer_range=0.2,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(SPECIAL + GOOD + BAD + OTHER))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def write_rows(path: Path, count: int, seed: int) -> Path:
    """Toy data as TSV: one good or bad word among others."""
    draw = random.Random(seed)
    lines = ["label\ttext"]
    for _ in range(count):
        label = draw.randrange(2)
        words = [draw.choice(OTHER) for _ in range(draw.randrange(1, 6))]
        words.insert(draw.randrange(len(words) + 1), draw.choice(GOOD if label else BAD))
        lines.append(f"{label}\t{' '.join(words)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=6.0, help="of fine-tuning")
    parser.add_argument("--fhe", default="simulate", choices=("execute", "simulate", "disable"))
    options = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        settings = options_from(
            fine_tune=True, epochs=options.epochs, learning_rate=5e-3, effort=0.1
        )
        report = convert(
            make_bert(folder / "bert"),
            folder / "thex",
            train=write_rows(folder / "train.tsv", 400, 1),
            dev=write_rows(folder / "dev.tsv", 100, 2),
            options=settings,
        )
        print(f"{report.metric}: {report.unconverted:.1f} before, {report.converted:.1f} after")
        classify = pipeline("thex-text-classification", model=str(folder / "thex"), fhe=options.fhe)
        for text in ("a very good film", "the plot very dull"):
            result = classify(text)[0]
            print(f"{result['label']}  {result['score']:.3f}  {text}")


if __name__ == "__main__":
    main()
