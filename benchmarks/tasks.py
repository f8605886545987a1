"""The tasks of the accuracy table: files, kinds of label and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.evaluation.metrics import SequenceF1

Figures = dict[str, float]


@dataclass(frozen=True)
class Task:
    """One task.

    Args:
        train: file with training texts, below the data folder.
        dev: file that scores are of.
        metrics: names of the figures, the first one to judge by.
        regression: labels are numbers.
        epochs: passes of fine-tuning.
        learning_rate: of fine-tuning, if it has to be another than that of all tasks.
        hold_out: take every so many-th row of ``train`` as ``dev``; 0: there is a file of its own.
        note: how the data differ from the task as published.
    """

    train: str
    dev: str
    metrics: tuple[str, ...] = ("accuracy",)
    regression: bool = False
    epochs: float = 4.0
    learning_rate: float | None = None
    hold_out: int = 0
    note: str = ""

    def read(self, folder: Path, limit: int | None = None) -> tuple[LabelledTexts, LabelledTexts]:
        """Training and development texts, labels in one order."""
        train = read_texts(folder / self.train, regression=self.regression)
        if self.hold_out:
            return part(train, self.hold_out, kept=False), part(train, self.hold_out, kept=True)
        dev = read_texts(
            folder / self.dev, label_names=train.label_names, regression=self.regression
        )
        return train, dev


def part(texts: LabelledTexts, every: int, *, kept: bool) -> LabelledTexts:
    """Every so many-th text, or all others."""
    chosen = [i for i in range(len(texts)) if (i % every == 0) is kept]
    fields = ("texts", "pairs", "labels", "words")
    picked: dict[str, Any] = {
        name: tuple(values[i] for i in chosen)
        for name in fields
        if (values := getattr(texts, name)) is not None
    }
    return replace(texts, **picked)


PART = "10,000 rows of train"
TASKS = {
    "sst2": Task(
        "sst2/sentences_train.tsv.gz", "sst2/dev.tsv.gz", note="the 6,920 sentences, not phrases"
    ),
    "sst2-phrases": Task(
        "sst2/train.tsv.gz", "sst2/dev.tsv.gz", epochs=3, note="the 67,349 phrases"
    ),
    "mrpc": Task("mrpc/train.tsv.gz", "mrpc/dev.tsv.gz", ("f1", "accuracy"), epochs=6),
    "rte": Task("rte/train.tsv.gz", "rte/dev.tsv.gz", epochs=6),
    "stsb": Task(
        "stsb/train.tsv.gz", "stsb/dev.tsv.gz", ("pearson", "spearman"), regression=True, epochs=6
    ),
    "qnli": Task("qnli/train.tsv.gz", "qnli/dev.tsv.gz", note=PART),
    "mnli": Task("mnli/train.tsv.gz", "mnli/dev_matched.tsv.gz", note=f"{PART}; matched dev"),
    "qqp": Task(
        "qqp/train.tsv.gz", "qqp/dev.tsv.gz", ("f1", "accuracy"), note="1,000-row hold-out as dev"
    ),
    "cola": Task("cola/train.tsv.gz", "cola/dev.tsv.gz", ("matthews", "accuracy"), epochs=10),
    "conll2003": Task(
        "conll2003/train.tsv.gz",
        "conll2003/testa.tsv.gz",
        ("entity_f1",),
        epochs=8,
        learning_rate=6e-4,
    ),
    "banking77": Task(
        "banking77/train.tsv.gz",
        "banking77/train.tsv.gz",
        hold_out=10,
        note="every tenth row of train as dev",
    ),
}

SCORERS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": lambda truth, guess: accuracy_score(truth, guess),
    "f1": lambda truth, guess: f1_score(truth, guess),
    "matthews": lambda truth, guess: matthews_corrcoef(truth, guess),
    "pearson": lambda truth, guess: pearsonr(truth, guess).statistic,
    "spearman": lambda truth, guess: spearmanr(truth, guess).statistic,
}


def figures(task: Task, dev: LabelledTexts, tags: Any, logits: Any) -> Figures:
    """The task's metrics, in per cent.

    Args:
        task: names them.
        dev: texts with their labels.
        tags: of tokens, where words have tags (``Encoded.labels``).
        logits: ``(n, labels)``, or for each text ``(tokens, labels)``.
    """
    if dev.kind == "tags":
        return {"entity_f1": _entities(dev, tags, logits)}
    values = np.asarray(logits, dtype=np.float64)
    guess = values[:, 0] if task.regression else values.argmax(-1)
    return {
        name: round(100.0 * float(SCORERS[name](dev.labels, guess)), 2) for name in task.metrics
    }


def nearness(logits: Any, unconverted: Any) -> Figures:
    """How near logits are to those before the conversion: finer than a score of few texts.

    ``same`` is the share of equal answers in per cent (left out for numbers), ``distance`` the mean
    size of a logit's difference, in standard deviations of the unconverted ones.
    """
    width = logits[0].shape[-1]
    after, before = (
        np.concatenate([np.asarray(row, dtype=np.float64) for row in rows]).reshape(-1, width)
        for rows in (logits, unconverted)
    )
    found = {"distance": round(float(np.abs(after - before).mean() / before.std()), 4)}
    if width > 1:
        found["same"] = round(100.0 * float((after.argmax(1) == before.argmax(1)).mean()), 2)
    return found


def _entities(dev: LabelledTexts, tags: Any, logits: Any) -> float:
    names = dev.label_names or ()
    truth, guess = [], []
    for own, found in zip(tags, logits, strict=True):
        real = own >= 0
        truth.append([names[i] for i in own[real]])
        guess.append([names[i] for i in found.argmax(-1)[real]])
    result = SequenceF1().compute(predictions=guess, references=truth)
    assert result is not None
    return round(100.0 * float(result["overall_f1"]), 2)
