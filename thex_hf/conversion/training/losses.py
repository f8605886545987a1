"""The loss terms of a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from thex_hf.conversion.options import LossOptions
from thex_hf.conversion.training.batches import Batch
from thex_hf.modeling.layers import LayerTrace
from thex_hf.modeling.tasks import problem_type, task_loss, token_loss

Model = Any
"""One of our two classifiers, see :class:`thex_hf.modeling.ThexBertClassifier`."""

STREAM_THRESHOLD, GUIDE_THRESHOLD = 4.0, 8.0
"""Up to where distances of streams, and divergences of logits, count in full."""


def soften_large(squares: Tensor, threshold: float) -> Tensor:
    """Squares up to ``threshold``, and from there on ``threshold (1 + log(squares / threshold))``.

    Polynomials turn a strange text into an enormous value, whose square would drown all other
    texts of the batch in the gradient; this way it has about the weight of a large one.

    Args:
        squares: not negative, any shape.
        threshold: positive.
    """
    far = squares.clamp_min(threshold)
    return torch.where(squares <= threshold, squares, threshold * (1 + torch.log(far / threshold)))


def run(model: Model, batch: Batch) -> tuple[list[LayerTrace], Tensor]:
    """Run a model and return what happened in its layers, and its logits."""
    stream = model.embed(batch["input_ids"], batch["token_type_ids"])
    traces = model.thex_bert.run_layers(stream, batch["attention_mask"])
    return traces, model.classify(traces[-1].layer_norm, batch["attention_mask"])


def guided_loss(model: Model, logits: Tensor, batch: Batch, losses: LossOptions) -> Tensor:
    """Task loss mixed with the divergence from the guiding logits.

    Args:
        model: tells the task.
        logits: ``(batch, labels)``, or ``(batch, seq, labels)`` where tokens are classified.
        batch: with ``labels``, and perhaps ``guide`` of the shape of the logits.
        losses: weights.
    """
    labels, guide = batch["labels"], batch.get("guide")
    kind = "tags"
    if model.head != "tokens":
        kind = model.config.problem_type or problem_type(logits.shape[-1], labels)
    follow = logits.new_zeros(())
    if guide is not None and losses.guide:
        real = batch["attention_mask"] == 1
        pair = (logits[real], guide[real]) if kind == "tags" else (logits, guide)
        follow = _divergence(*pair, kind, losses.temperature)
    if guide is not None and losses.guide == 1:
        return follow
    if kind == "tags":
        task = token_loss(logits, labels, losses.smoothing)
    else:
        task = task_loss(logits, labels, kind, losses.smoothing)
    if guide is None:
        return task
    return (1 - losses.guide) * task + losses.guide * follow


def _divergence(logits: Tensor, guide: Tensor, kind: str, heat: float) -> Tensor:
    """How far logits ``(n, labels)`` are from those to imitate."""
    if kind == "regression":
        return functional.mse_loss(logits, guide)
    if kind == "multi_label_classification":
        return functional.binary_cross_entropy_with_logits(logits, torch.sigmoid(guide))
    each = functional.kl_div(
        functional.log_softmax(logits / heat, -1),
        functional.log_softmax(guide / heat, -1),
        log_target=True,
        reduction="none",
    ).sum(-1)
    return soften_large(heat**2 * each, GUIDE_THRESHOLD).mean()


def score_loss(traces: list[LayerTrace], batch: Batch, losses: LossOptions) -> Tensor:
    """Penalise attention scores of real tokens beyond the limit, squared."""
    mask = batch["attention_mask"].float()
    pairs = mask[:, None, :, None] * mask[:, None, None, :]
    total = torch.zeros((), device=mask.device)
    if not losses.score_penalty:
        return total
    for trace in traces:
        excess = torch.relu(trace.scores.abs() - losses.score_limit) ** 2
        excess = soften_large(excess, losses.score_limit**2) * pairs
        total = total + excess.sum() / (pairs.sum() * trace.scores.shape[1])
    return losses.score_penalty * total


def read_rows(model: Model, layer: int, batch: Batch) -> Tensor:
    """Which rows of a layer, behind its scores, anything later reads: 0/1 ``(batch, seq)``.

    All real tokens; in the last layer of a model that classifies by ``[CLS]``, that row alone. It
    is unlike the others, so what counts the others too fits it badly.

    Args:
        model: one of our classifiers.
        layer: number of the layer.
        batch: with ``attention_mask``.
    """
    mask = batch["attention_mask"]
    if model.head != "cls" or layer < len(model.thex_bert.layers) - 1:
        return mask
    first = torch.zeros_like(mask)
    first[:, 0] = mask[:, 0]
    return first


def masked_error(values: Tensor, target: Tensor, rows: Tensor) -> Tensor:
    """Mean squared difference of ``(batch, seq, d)`` over the rows marked in ``(batch, seq)``."""
    weights = rows.to(values.dtype).unsqueeze(-1)
    return ((values - target) ** 2 * weights).sum() / (weights.sum() * values.shape[-1])


def norm_loss(
    model: Model, traces: list[LayerTrace], targets: list[LayerTrace], batch: Batch
) -> Tensor:
    """Sum over all norms of the mean squared error of their outputs (LN-distill)."""
    total = torch.zeros((), device=batch["input_ids"].device)
    for number, (trace, target) in enumerate(zip(traces, targets, strict=True)):
        rows = read_rows(model, number, batch)
        total = total + masked_error(trace.attention_norm, target.attention_norm, rows)
        total = total + masked_error(trace.layer_norm, target.layer_norm, rows)
    return total


def score_distance(
    model: Model, traces: list[LayerTrace], targets: list[LayerTrace], batch: Batch
) -> Tensor:
    """Sum over the layers of the mean squared error of scores of rows that are read."""
    mask = batch["attention_mask"].float()
    total = torch.zeros((), device=mask.device)
    for number, (trace, target) in enumerate(zip(traces, targets, strict=True)):
        rows = read_rows(model, number, batch)
        pairs = rows[:, None, :, None] * mask[:, None, None, :]
        error = soften_large((trace.scores - target.scores) ** 2, STREAM_THRESHOLD) * pairs
        total = total + error.sum() / (pairs.sum() * trace.scores.shape[1])
    return total


def value_loss(model: Model, traces: list[LayerTrace], batch: Batch, losses: LossOptions) -> Tensor:
    """Penalise values that are computed beyond the limit, squared: they cost modulus bits."""
    mask = batch["attention_mask"].float()
    total = torch.zeros((), device=mask.device)
    if not losses.value_penalty:
        return total
    for number, trace in enumerate(traces):
        rows = read_rows(model, number, batch).float()
        for values, counted in (
            (trace.value, mask),
            (trace.attention_out, rows),
            (trace.ffn_pre, rows),
            (trace.layer_out, rows),
        ):
            excess = torch.relu(values.abs() - losses.value_limit) ** 2
            excess = soften_large(excess, losses.value_limit**2) * counted.unsqueeze(-1)
            total = total + excess.sum() / counted.sum()
    return losses.value_penalty * total


def streams_of(traces: Sequence[LayerTrace]) -> list[Tensor]:
    """What each layer gives to the next, ``(batch, seq, d)``."""
    return [trace.layer_norm for trace in traces]


def stream_loss(
    model: Model, traces: Sequence[LayerTrace], targets: Sequence[Tensor], batch: Batch
) -> Tensor:
    """Sum over the layers of the mean squared error of their outputs, where they are read.

    Args:
        model: says what is read.
        traces: of the model in training.
        targets: each layer's output of the model to follow, ``(batch, seq, d)``.
        batch: with ``attention_mask``.
    """
    total = torch.zeros((), device=batch["input_ids"].device)
    for number, (trace, target) in enumerate(zip(traces, targets, strict=True)):
        rows = read_rows(model, number, batch).to(trace.layer_norm.dtype)
        each = ((trace.layer_norm - target) ** 2).mean(-1)
        total = total + (soften_large(each, STREAM_THRESHOLD) * rows).sum() / rows.sum()
    return total
