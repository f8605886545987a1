"""The stages of a THE-X conversion (Chen et al. 2022, Algorithm 1 and section 4.6)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from thex_hf.conversion.batches import Batch, Encoded
from thex_hf.conversion.losses import (
    LossOptions,
    guided_loss,
    norm_loss,
    run,
    score_distance,
    score_loss,
    stream_loss,
    value_loss,
)
from thex_hf.conversion.norms import clamp_scales, fit_least_squares, with_affine_norms
from thex_hf.conversion.trainer import FitOptions, fit
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.layers import AffineNorm

Model = ThexBertForSequenceClassification


def fine_tune(
    model: Model,
    data: Encoded,
    fitting: FitOptions,
    losses: LossOptions,
    name: str = "stage 1, ReLU and softmax estimate",
) -> None:
    """Stage 1: train the model on the task, with small attention scores.

    Args:
        model: with ReLU, the frozen softmax estimate and exact layer norms on the way to THE-X
            form; with nothing replaced on the way to polynomial form. Trained in place.
        data: training texts, carrying the unconverted model's logits as guide.
        fitting: how long and how fast.
        losses: weights of the loss terms.
        name: shown by the progress bar and in errors.
    """

    def loss_of(net: nn.Module, batch: Batch) -> Tensor:
        traces, logits = run(cast(Model, net), batch)
        return guided_loss(model.config, logits, batch, losses) + score_loss(traces, batch, losses)

    fit(model, loss_of, data, fitting, name)


def distil_norms(model: Model, data: Encoded, fitting: FitOptions, texts: int = 4096) -> Model:
    """Stages 2 and 3: learn an affine map beside each layer norm, then drop the norms.

    All else is frozen. Each affine map starts from the least-squares fit, feature by
    feature and layer by layer, of the exact norm's output, and all are then trained
    together on the sum of the mean squared errors.

    Args:
        model: stage 1's model; left unchanged.
        data: training texts.
        fitting: how long and how fast; zero epochs leave the least-squares fit.
        texts: how many texts the least-squares fit uses.

    Returns:
        A copy of the model with affine norms.
    """
    student = with_affine_norms(model)
    fit_least_squares(model, student, data, texts)
    norms = [module for module in student.modules() if isinstance(module, AffineNorm)]
    student.requires_grad_(False)
    for norm in norms:
        norm.requires_grad_(True)

    def loss_of(net: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            exact, _ = run(model.to(batch["input_ids"].device).eval(), batch)
        traces, _ = run(cast(Model, net.eval()), batch)  # no dropout: outputs are compared
        return norm_loss(traces, exact, batch)

    if fitting.epochs > 0:
        fit(student, loss_of, data, fitting, "stage 2, affine norms")
    student.requires_grad_(True)
    clamp_scales(student)
    return student


def polish(
    student: Model,
    exact: Model,
    data: Encoded,
    fitting: FitOptions,
    losses: LossOptions,
    *,
    name: str = "polish",
    same_texts: bool = False,
) -> None:
    """Last step: train all weights end to end towards a model with exact layer norms.

    Args:
        student: the model with affine norms; trained in place.
        exact: the model to follow, as it was before its norms were replaced.
        data: training texts, carrying logits as guide.
        fitting: how long and how fast.
        losses: weights of the loss terms.
        name: shown by the progress bar and in errors.
        same_texts: take the exact model's logits on each batch, with its dropped and swapped
            tokens, as guide; else those that the data carry.
    """
    exact.eval().requires_grad_(False)

    def loss_of(net: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            targets, answer = run(exact.to(batch["input_ids"].device), batch)
        if same_texts:
            batch = {**batch, "guide": answer}
        traces, logits = run(cast(Model, net), batch)
        loss = guided_loss(student.config, logits, batch, losses)
        return (
            loss
            + losses.hidden * stream_loss(traces, targets, batch)
            + losses.scores * score_distance(traces, targets, batch)
            + score_loss(traces, batch, losses)
            + value_loss(traces, batch, losses)
        )

    fit(student, loss_of, data, fitting, name)
    exact.requires_grad_(True)
    clamp_scales(student)
