"""What the stages of a conversion begin from: the source's answers, and an exact copy of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.context import Model
from thex_hf.conversion.forecast import Clock
from thex_hf.conversion.scores import Logits, predict
from thex_hf.conversion.sources import Source, fit_head, start_model
from thex_hf.conversion.training.batches import Encoded, sample
from thex_hf.conversion.training.losses import run
from thex_hf.conversion.training.trainer import autocast, make_accelerator
from thex_hf.modeling import ThexBertClassifier
from thex_hf.tasks import SOURCES

ANSWERS = "answers"
"""What the source's answers are called where they are kept, timed and forecast."""
HEAD_TEXTS = 4096
"""How many texts a classifier without its pooler is fitted on."""


def source_answers(
    source: nn.Module, data: Encoded, checkpoint: Checkpoint, clock: Clock
) -> Logits:
    """The source's logits of all texts: those that are kept, or it is asked and they are kept.

    It is asked in the precision of training.

    A checkpoint goes on with the very source, texts and options that it was begun with only, so
    what it keeps is what the source would answer.

    Args:
        source: the fine-tuned model.
        data: training texts.
        checkpoint: of the conversion.
        clock: is told how long it took, where the source was asked.

    Returns:
        As :func:`thex_hf.conversion.scores.predict`.

    Raises:
        ConversionError: what is kept is damaged.
    """
    kept = checkpoint.load_tensors(ANSWERS)
    if kept is not None:
        rows = kept["logits"]
        if data.kind != "tags":
            return rows
        return tuple(torch.split(rows, [len(ids) for ids in data.ids]))
    with clock.timing(ANSWERS), autocast(make_accelerator()):
        logits = predict(source, data)
    rows = logits if isinstance(logits, Tensor) else torch.cat(logits)
    checkpoint.save_tensors(ANSWERS, {"logits": rows})
    return logits


def copy_source(source: Source, guided: Encoded) -> Model:
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
    if not SOURCES[source.task].every_token and not isinstance(source.model, ThexBertClassifier):
        fit_head(model, *_head_rows(model, guided))
    return model


@torch.no_grad()
def _head_rows(model: Model, data: Encoded) -> tuple[Tensor, Tensor]:
    """What the classifier reads of each text ``(n, d)``, and the logits to give ``(n, labels)``."""
    states, logits = [], []
    for batch in sample(data, HEAD_TEXTS):
        traces, _ = run(model.eval(), batch)
        states.append(model.read(traces[-1].layer_norm, batch["attention_mask"]))
        logits.append(batch["guide"])
    return torch.cat(states), torch.cat(logits)
