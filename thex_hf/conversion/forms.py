"""The ways from a fine-tuned BERT to each of the two forms, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from transformers import BertForSequenceClassification

from thex_hf.approx.reciprocal import load_reciprocal
from thex_hf.conversion.batches import Encoded, sample
from thex_hf.conversion.checks import check_learned, check_logits, check_values
from thex_hf.conversion.mapping import thex_config, to_thex
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.polynomial import distil_layers, fit_start, with_polynomials
from thex_hf.conversion.save import round_to_half
from thex_hf.conversion.schedule import distil_norms, fine_tune, polish
from thex_hf.conversion.trainer import predict, score, score_logits
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.calibrate import measure_ranges

Model = ThexBertForSequenceClassification


@dataclass(frozen=True)
class Job:
    """What every stage needs."""

    train: Encoded
    dev: Encoded
    options: ConversionOptions


@dataclass
class Outcome:
    """A converted model, the score after each stage, and what was fitted in each layer."""

    model: Model
    stages: dict[str, float]
    approximations: list[dict[str, Any]] = field(default_factory=list)


def to_the_x(teacher: BertForSequenceClassification, job: Job) -> Outcome:
    """Run the stages of THE-X (Chen et al. 2022, Algorithm 1), and perhaps a last polish.

    Args:
        teacher: the fine-tuned model.
        job: data and options.
    """
    options = job.options
    stages = {"unconverted": score(teacher, job.dev)}
    guided = job.train.with_guide(predict(teacher, job.train))
    model = start_model(teacher)
    if options.fine_tuning.epochs > 0:
        fine_tune(model, guided, replace(options.fine_tuning, seed=options.seed), options.losses)
    stages["relu_softmax"] = score(model, job.dev)
    student = distil_norms(
        model, job.train, replace(options.distilling, seed=options.seed + 1), options.norm_texts
    )
    stages["affine"] = score(student, job.dev)
    if options.polish and options.polishing.epochs > 0:
        settings = replace(options.polishing, seed=options.seed + 2)
        polish(student, model, guided, settings, options.losses)
    return Outcome(student, stages)


def to_polynomial(teacher: BertForSequenceClassification, job: Job) -> Outcome:
    """Lead a model into the range where low-degree polynomials do, then distil it.

    Trained directly, the polynomial form runs away: a large score is squared, makes larger
    values, and these larger scores. So (0) a copy without pooler learns to keep its scores
    small; (1) polynomials, power attention and affine norms are fitted to what happens inside
    it; (2) each layer is trained by itself on that model's stream; (3) all are trained end to
    end, towards its streams and logits.

    Args:
        teacher: the fine-tuned model.
        job: data and options.

    Raises:
        ConversionError: a stage diverged.
    """
    options, settings = job.options, job.options.polynomial
    stages = {"unconverted": score(teacher, job.dev)}
    guided = job.train.with_guide(predict(teacher, job.train))
    exact = start_model(teacher, activation="gelu", softmax="exact")
    if settings.bounding.epochs > 0:
        fitting = replace(settings.bounding, seed=options.seed)
        fine_tune(exact, guided, fitting, settings.losses, "bounded scores")
    stages["bounded"] = score(exact, job.dev)
    student = with_polynomials(exact, settings.attention_power, settings.norm)
    notes = fit_start(exact, student, job.train, options.norm_texts, settings.activation)
    stages["fitted"] = score(student, job.dev)
    if settings.layer_wise.epochs > 0:
        fitting = replace(settings.layer_wise, seed=options.seed + 1)
        distil_layers(exact, student, job.train, fitting, settings.losses)
    stages["layer_wise"] = score(student, job.dev)
    if settings.end_to_end.epochs > 0:
        set_dropout(student, settings.dropout)
        fitting = replace(settings.end_to_end, seed=options.seed + 2)
        name = "end-to-end distillation"
        polish(student, exact, job.train, fitting, settings.losses, name=name, same_texts=True)
    return Outcome(student, stages, notes)


WAYS: dict[str, Callable[[BertForSequenceClassification, Job], Outcome]] = {
    "the-x": to_the_x,
    "polynomial": to_polynomial,
}


def start_model(
    teacher: BertForSequenceClassification, *, activation: str = "relu", softmax: str = "estimate"
) -> Model:
    """Copy a BERT classifier to a model of ours with exact norms, without its pooler.

    Args:
        teacher: the fine-tuned model.
        activation: ``"relu"`` on the way to THE-X form, ``"gelu"`` to keep the function.
        softmax: ``"estimate"`` or ``"exact"``, likewise.
    """
    if activation == "gelu" and teacher.config.hidden_act == "relu":
        activation = "relu"
    config = thex_config(teacher.config, activation=activation, softmax=softmax, norm="layernorm")
    if softmax == "estimate":
        config.reciprocal = load_reciprocal().fingerprint()
    model = Model(config)
    model.load_state_dict(to_thex(teacher.state_dict()))
    model.eval()
    return model


def finish(outcome: Outcome, job: Job) -> Model:
    """Round, score and calibrate a model; the score goes into the outcome's stages.

    Raises:
        ConversionError: logits are not finite, values inside are enormous, or a polynomial
            model knows no more than the most frequent label. Nothing has been saved then.
    """
    model, stages = outcome.model, outcome.stages
    model.cpu()
    if job.options.half:
        round_to_half(model)
    logits = predict(model, job.dev)
    check_logits(logits, stages)
    stages["converted"] = score_logits(logits, job.dev.labels)
    model.config.ranges = measure_ranges(model, sample(job.train, job.options.calibration_texts))
    if model.config.form == "polynomial":
        check_values(model.config.ranges)
        check_learned(stages, job.dev.labels)
    return model


def set_dropout(model: nn.Module, share: float) -> None:
    """Set all dropout of a model, for training; the configuration keeps its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
