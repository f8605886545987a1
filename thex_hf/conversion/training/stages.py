"""The kinds of training that conversions are made of; each works on a model in place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.labels import PROBLEMS
from thex_hf.conversion.options import ConversionOptions, FitOptions, LossOptions
from thex_hf.conversion.replacements import clamp_scales
from thex_hf.conversion.scores import ask, ask_streams, score
from thex_hf.conversion.sources import Source
from thex_hf.conversion.training.batches import Batch, Encoded, collate
from thex_hf.conversion.training.losses import (
    guided_loss,
    norm_loss,
    run,
    score_distance,
    score_loss,
    stream_loss,
    streams_of,
    value_loss,
)
from thex_hf.conversion.training.spread import Bounded, Spread
from thex_hf.conversion.training.trainer import LossFunction, fit
from thex_hf.modeling.layers import LayerTrace, ThexBertLayer
from thex_hf.modeling.norms import AffineNorm
from thex_hf.modeling.tasks import task_loss, token_loss

Model = Any
SCORE_SHARE = 0.05
"""Weight of the attention scores beside the layer outputs in layer-wise distillation."""

SMOOTHING = 0.05
"""Label smoothing of fine-tuning."""


@dataclass(frozen=True)
class TrainingStage:
    """One training stage: its data, its settings and where its state is kept.

    ``held_out`` are texts to choose the best moment by, or None.
    """

    data: Encoded
    fitting: FitOptions
    losses: LossOptions
    name: str
    checkpoint: Checkpoint
    held_out: Encoded | None = None

    def fit(self, model: nn.Module, loss_of: LossFunction, scored: nn.Module | None = None) -> None:
        """Train; see :func:`thex_hf.conversion.training.trainer.fit`.

        ``scored`` is the classifier, where what is trained is more than that.
        """
        held_out, judged = self.held_out, model if scored is None else scored
        evaluate = None if held_out is None else (lambda: score(judged, held_out))
        fitting, checkpoint = self.fitting, self.checkpoint
        fit(model, loss_of, self.data, fitting, self.name, checkpoint=checkpoint, evaluate=evaluate)


def fine_tune(model: Model, stage: TrainingStage) -> None:
    """Train on the task, with small attention scores.

    The data may carry logits as guide. THE-X's stage 1 if the model has ReLU and the softmax
    estimate (Chen et al. 2022, Algorithm 1). Texts are masked at most: their labels fit nothing
    else.
    """
    plain = stage.fitting.with_labels()

    def loss_of(net: Model, batch: Batch) -> Tensor:
        traces, logits = run(net, batch)
        task = guided_loss(net, logits, batch, stage.losses)
        return task + score_loss(traces, batch, stage.losses)

    replace(stage, fitting=plain).fit(model, loss_of)


def follow(
    student: Model,
    exact: Model,
    stage: TrainingStage,
    answers: nn.Module | None = None,
    spread: Spread | None = None,
) -> None:
    """Train all weights end to end towards another model: logits, streams, attention scores.

    That model answers each batch as it is, disturbed and recombined, so no label is needed as
    long as ``losses.guide`` is 1.

    Args:
        student: trained in place.
        exact: what to follow; left unchanged.
        stage: data and settings.
        answers: the classifier that ``exact`` is a copy of, to take the logits from instead, and
            the streams too where no scores are followed; left unchanged.
        spread: what the variances before norms are held to; its centres are trained along.
    """
    exact.eval().requires_grad_(False)
    losses = stage.losses
    shared = answers is not None and not losses.scores and same_streams(exact, answers, stage.data)

    def loss_of(whole: Model, batch: Batch) -> Tensor:
        net = whole if spread is None else whole.model
        device = batch["input_ids"].device
        targets: list[LayerTrace] = []
        with torch.no_grad():
            if answers is not None and shared:
                streams, answer = ask_streams(answers.eval().to(device), batch)
            else:
                targets, answer = run(exact.to(device), batch)
                streams = streams_of(targets)
                if answers is not None:
                    answer = ask(answers.eval().to(device), batch)
        traces, logits = run(net, batch)
        loss = guided_loss(net, logits, {**batch, "guide": answer}, losses)
        if losses.hidden:
            loss = loss + losses.hidden * stream_loss(net, traces, streams, batch)
        if losses.scores:
            loss = loss + losses.scores * score_distance(net, traces, targets, batch)
        if spread is not None:
            loss = loss + whole.spread(net, traces, batch, losses)
        return loss + score_loss(traces, batch, losses) + value_loss(net, traces, batch, losses)

    stage.fit(student if spread is None else Bounded(student, spread), loss_of, student)
    exact.requires_grad_(True)
    if student.config.norm in ("affine", "centred"):
        clamp_scales(student)


@torch.no_grad()
def same_streams(exact: Model, source: nn.Module, data: Encoded) -> bool:
    """Whether a source shows the streams of its copy, on a few texts.

    That of some family might show others: before a norm, say.
    """
    device = next(exact.parameters()).device
    rows = torch.arange(min(8, len(data)))
    batch = {name: values.to(device) for name, values in collate(data, rows).items()}
    real = batch["attention_mask"].bool()
    mine = streams_of(run(exact, batch)[0])
    theirs, _ = ask_streams(source.eval().to(device), batch)
    return len(mine) == len(theirs) and all(
        one.shape == other.shape and torch.allclose(one[real], other[real], rtol=0.01, atol=0.01)
        for one, other in zip(mine, theirs, strict=True)
    )


def distil_norms(student: Model, exact: Model, stage: TrainingStage) -> None:
    """Train the affine norms alone, towards the outputs of exact layer norms (THE-X, stage 2).

    Args:
        student: has affine norms, fitted already; trained in place.
        exact: the same model with layer norms; left unchanged.
        stage: data and settings.
    """
    norms = [module for module in student.modules() if isinstance(module, AffineNorm)]
    student.requires_grad_(False)
    for norm in norms:
        norm.requires_grad_(True)

    def loss_of(net: Model, batch: Batch) -> Tensor:
        with torch.no_grad():
            targets, _ = run(exact.to(batch["input_ids"].device).eval(), batch)
        traces, _ = run(net.eval(), batch)  # no dropout: outputs are compared
        return norm_loss(net, traces, targets, batch)

    stage.fit(student, loss_of)
    student.requires_grad_(True)
    clamp_scales(student)


def distil_layers(
    student: Model, exact: Model, stage: TrainingStage, spread: Spread | None = None
) -> None:
    """Train each layer by itself to follow the exact one, fed the exact model's stream.

    Errors of one layer cannot reach the next, so nothing runs away while the replacements are
    still rough. Of the last layer only what the classifier reads is compared.

    Args:
        student: trained in place.
        exact: what to follow; left unchanged.
        stage: data and settings; ``value_limit`` and ``value_penalty`` hold here too.
        spread: as in :func:`follow`.
    """
    layers = [cast(ThexBertLayer, layer) for layer in student.thex_bert.layers]
    exact.eval().requires_grad_(False)

    def loss_of(whole: Model, batch: Batch) -> Tensor:
        net = whole if spread is None else whole.model
        with torch.no_grad():
            targets, _ = run(exact.to(batch["input_ids"].device), batch)
        net.eval()  # no dropout: outputs are compared
        mask = batch["attention_mask"].to(targets[0].stream_in.dtype)
        between = net.thex_bert.between(targets[0].stream_in)
        traces = [
            layer(target.stream_in, mask, between)[1]
            for layer, target in zip(layers, targets, strict=True)
        ]
        distance = SCORE_SHARE * score_distance(net, traces, targets, batch)
        distance = distance + stream_loss(net, traces, streams_of(targets), batch)
        if spread is not None:
            distance = distance + whole.spread(net, traces, batch, stage.losses)
        return distance + value_loss(net, traces, batch, stage.losses)

    stage.fit(student if spread is None else Bounded(student, spread), loss_of, student)
    exact.requires_grad_(True)
    if student.config.norm in ("affine", "centred"):
        clamp_scales(student)


def set_dropout(model: nn.Module, share: float) -> None:
    """Set all dropout of a model, for training; the configuration keeps its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share


def fine_tune_source(
    source: Source, data: Encoded, options: ConversionOptions, checkpoint: Checkpoint
) -> None:
    """Train the source as it is on the task, in place."""
    if not checkpoint.load_stage("fine_tuned", source.model):
        fitting = replace(options.fine_tuning, seed=options.seed)
        train_task(source.model, data, fitting, checkpoint)
        checkpoint.save_stage("fine_tuned", source.model)


def train_task(
    model: Any, data: Encoded, fitting: FitOptions, checkpoint: Checkpoint | None = None
) -> None:
    """Fine-tune any classifier of the BERT family on labels, in place.

    Args:
        model: a Hugging Face classifier, or one of ours.
        data: training texts.
        fitting: how long and how fast.
        checkpoint: where the state of the loop is kept.
    """

    def loss_of(net: Any, batch: Batch) -> Tensor:
        logits = ask(net, batch)
        if data.kind == "tags":
            return token_loss(logits, batch["labels"], SMOOTHING)
        return task_loss(logits, batch["labels"], PROBLEMS[data.kind], SMOOTHING)

    fit(model, loss_of, data, fitting, "fine-tuning", checkpoint=checkpoint or Checkpoint())
