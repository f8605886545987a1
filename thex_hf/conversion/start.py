"""Before the stages: fine-tune the source if asked, and copy it into a model of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from thex_hf.conversion.checkpoint import Work
from thex_hf.conversion.data.labels import PROBLEMS
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.scores import ask
from thex_hf.conversion.sources import Source, fit_head, start_model
from thex_hf.conversion.training.batches import Batch, Encoded, sample
from thex_hf.conversion.training.fitting import FitOptions
from thex_hf.conversion.training.losses import run
from thex_hf.conversion.training.trainer import fit
from thex_hf.modeling import ThexBertClassifier
from thex_hf.modeling.tasks import task_loss, token_loss

HEAD_TEXTS = 4096
SMOOTHING = 0.05


def fine_tune_source(source: Source, data: Encoded, options: ConversionOptions, work: Work) -> None:
    """Train the source as it is on the task, in place."""
    if not work.restore("fine_tuned", source.model):
        fitting = replace(options.fine_tuning, seed=options.seed)
        train_task(source.model, data, fitting, work)
        work.keep("fine_tuned", source.model)


def train_task(model: Any, data: Encoded, fitting: FitOptions, work: Work | None = None) -> None:
    """Fine-tune any classifier of the BERT family on labels, in place.

    Args:
        model: a Hugging Face classifier, or one of ours.
        data: training texts.
        fitting: how long and how fast.
        work: where unfinished work is kept.
    """

    def loss_of(net: Any, batch: Batch) -> Tensor:
        logits = ask(net, batch)
        if data.kind == "tags":
            return token_loss(logits, batch["labels"], SMOOTHING)
        return task_loss(logits, batch["labels"], PROBLEMS[data.kind], SMOOTHING)

    fit(model, loss_of, data, fitting, "fine-tuning", work=work or Work())


def begin(source: Source, guided: Encoded) -> Any:
    """Copy a source into a classifier of ours with nothing replaced.

    A pooler or a hidden layer of the head goes; the classifier is then fitted to the source's
    logits by ridge regression on the rows it reads.

    Args:
        source: the fine-tuned model.
        guided: training texts with the source's logits as guide.
    """
    model = start_model(
        source.model,
        task=source.task,
        pooling=source.pooling,
        activation="gelu",
        softmax="exact",
        norm="layernorm",
    )
    if source.task == "sequence" and not isinstance(source.model, ThexBertClassifier):
        fit_head(model, *_head_rows(model, guided))
    return model


@torch.no_grad()
def _head_rows(model: Any, data: Encoded) -> tuple[Tensor, Tensor]:
    """What the classifier reads of each text ``(n, d)``, and the logits to give ``(n, labels)``."""
    states, logits = [], []
    for batch in sample(data, HEAD_TEXTS):
        traces, _ = run(model.eval(), batch)
        states.append(model.read(traces[-1].layer_norm, batch["attention_mask"]))
        logits.append(batch["guide"])
    return torch.cat(states), torch.cat(logits)
