"""The recipes from a fine-tuned classifier to each of the forms, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.forecast import Clock
from thex_hf.conversion.options import ConversionOptions, FitOptions, LossOptions
from thex_hf.conversion.output import round_to_half
from thex_hf.conversion.replacements import (
    copy_model,
    copy_polynomial,
    fit_least_squares,
    fit_replacements,
)
from thex_hf.conversion.roots import (
    Variances,
    check_degrees,
    copy_normalised,
    describe_roots,
    fit_roots,
    measure_variances,
    spread_around,
)
from thex_hf.conversion.scores import (
    Logits,
    check_learned,
    check_logits,
    check_values,
    predict,
    score_logits,
)
from thex_hf.conversion.sources import Source, fit_head, start_model
from thex_hf.conversion.training.augment import strange_batches
from thex_hf.conversion.training.batches import Encoded, sample
from thex_hf.conversion.training.losses import run
from thex_hf.conversion.training.spread import Spread
from thex_hf.conversion.training.stages import (
    TrainingStage,
    distil_layers,
    distil_norms,
    fine_tune,
    follow,
    set_dropout,
    steady,
)
from thex_hf.modeling import ThexBertClassifier
from thex_hf.modeling.calibrate import calibrate_on
from thex_hf.tasks import SOURCES

logger = logging.get_logger(__name__)

Model = Any

STAGE_NAMES = {
    "bounded": "bounded scores",
    "relu": "ReLU",
    "relu_softmax": "softmax estimate",
    "affine": "affine norms",
    "layer_wise": "layer-wise distillation",
    "converted": "end-to-end distillation",
    "layer_norms": "distillation with layer norms",
    "roots": "polynomials in norms",
}
LAST = "converted"
DEEPEST = 3
"""Layers of the deepest model that was converted to polynomial form."""
HEAD_TEXTS = 4096
"""How many texts a classifier without its pooler is fitted on."""

Watch = Callable[[str, Logits], None]
"""Is told the name of each stage and the logits on the development texts after it."""


@dataclass(frozen=True)
class ConversionContext:
    """What every stage needs: texts, options, and the checkpoint.

    ``train`` carries the source's logits as guide; ``held_out`` are texts set aside, or None.
    ``source`` is the fine-tuned model, asked about texts that are not in ``train``. ``clock``
    is told of every stage.
    """

    train: Encoded
    dev: Encoded
    options: ConversionOptions
    checkpoint: Checkpoint
    source: nn.Module
    held_out: Encoded | None = None
    watch: Watch | None = None
    clock: Clock = field(default_factory=Clock)

    def score_stage(self, stage: str, model: Model) -> float:
        """Score a model on the development texts."""
        logits = predict(model, self.dev)
        if self.watch:
            self.watch(stage, logits)
        return score_logits(logits, self.dev)

    def training_stage(self, name: str, fitting: FitOptions, losses: LossOptions) -> TrainingStage:
        """A stage of training; its seed is the conversion's, moved by the place of the stage."""
        seed = self.options.seed + list(STAGE_NAMES).index(name)
        stops = self.options.early_stop and name == LAST
        fitting = replace(fitting, seed=seed, checks=10 if stops else 0)
        held_out = self.held_out if stops else None
        shown = STAGE_NAMES[name]
        return TrainingStage(self.train, fitting, losses, shown, self.checkpoint, held_out)


@dataclass
class Outcome:
    """A converted model, the score after each stage, and what was fitted in each layer."""

    model: Model
    stages: dict[str, float]
    approximations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Stages:
    """Runs stages, or takes their results from the checkpoint."""

    context: ConversionContext
    scores: dict[str, float]

    def run(self, name: str, model: Model, train: Callable[[], None]) -> None:
        if not self.context.checkpoint.load_stage(name, model):
            with self.context.clock.timing(name):
                train()
            self.context.checkpoint.save_stage(name, model)
        if name != LAST:  # scored when it is rounded
            self.scores[name] = self.context.score_stage(name, model)


def to_the_x(exact: Model, context: ConversionContext) -> Outcome:
    """Replace ReLU, softmax and norms one after the other, then train the whole.

    The copy with bounded scores follows the source, and each later stage that copy (THE-X trains
    on labels; its order, first ReLU and softmax, then the norms, is Algorithm 1 of Chen et al.
    2022).

    Args:
        exact: a copy of the source with nothing replaced, its classifier refitted.
        context: data and options.

    Raises:
        ConversionError: a stage diverged.
    """
    settings = context.options.the_x
    stages = _Stages(context, {})

    def training(student: Model, name: str, fitting: FitOptions) -> Callable[[], None]:
        def train() -> None:
            if not fitting.epochs:
                return
            set_dropout(student, settings.dropout)
            stage = context.training_stage(name, fitting, settings.losses)
            if settings.follow:
                follow(student, exact, stage)
            else:
                fine_tune(student, stage)

        return train

    stages.run("bounded", exact, _bounding(exact, context, settings.bounding))
    student = copy_model(exact, activation="relu")
    stages.run("relu", student, training(student, "relu", settings.relu))
    student = copy_model(student, softmax="estimate")
    stages.run("relu_softmax", student, training(student, "relu_softmax", settings.softmax))
    normed, student = student, copy_model(student, norm="affine")

    def fit_norms() -> None:
        fit_least_squares(normed, student, context.train, context.options.norm_texts)
        if settings.norms.epochs:
            distil_norms(
                student, normed, context.training_stage("affine", settings.norms, settings.losses)
            )

    stages.run("affine", student, fit_norms)
    if settings.layer_wise.epochs:
        stage = context.training_stage("layer_wise", settings.layer_wise, settings.losses)
        reference = exact if settings.follow else normed
        stages.run("layer_wise", student, lambda: distil_layers(student, reference, stage))
    if settings.end_to_end.epochs:
        stages.run(LAST, student, training(student, LAST, settings.end_to_end))
    return Outcome(student, stages.scores)


def to_polynomial(exact: Model, context: ConversionContext) -> Outcome:
    """Lead a model into the range where low-degree polynomials do, then distil it.

    Trained directly, the polynomial form runs away: a large score is squared, makes larger
    values, and these larger scores. So (0) a copy without pooler learns to keep its scores
    small; (1) polynomials, power attention and affine norms are fitted to what happens inside
    it; (2) each layer is trained by itself on that model's stream; (3) all are trained end to
    end, towards its streams and logits, and at last on texts on which values still run away.

    Args:
        exact: a copy of the source with nothing replaced, its classifier refitted.
        context: data and options.

    Raises:
        ConversionError: a stage diverged.
    """
    options, settings = context.options, context.options.polynomial
    if (layers := len(exact.thex_bert.layers)) > DEEPEST:
        logger.warning(
            "the polynomial form is known to hold at up to %d layers, and this model has %d: at 6 "
            "the loss ran away. For deep models there is form='normalised', for protocol prepared.",
            DEEPEST,
            layers,
        )
    stages = _Stages(context, {})
    stages.run("bounded", exact, _bounding(exact, context, settings.bounding))
    student = copy_polynomial(exact, settings.attention_power, settings.norm)
    with context.clock.timing("fitted"):
        approximations = fit_replacements(
            exact, student, context.train, options.norm_texts, settings.activation
        )
    stages.run("fitted", student, lambda: None)
    if settings.layer_wise.epochs:
        stage = context.training_stage("layer_wise", settings.layer_wise, settings.losses)
        stages.run("layer_wise", student, lambda: distil_layers(student, exact, stage))
    if settings.end_to_end.epochs:
        set_dropout(student, settings.dropout)
        full = context.training_stage(LAST, settings.end_to_end, settings.losses)
        gentle = replace(full, fitting=replace(settings.steadying, seed=full.fitting.seed))

        def train() -> None:
            follow(student, exact, full)
            if settings.steadying.epochs:
                stage = replace(gentle, name="steadying", held_out=None)
                steady(student, exact, stage, settings.rounds, settings.drawn)

        stages.run(LAST, student, train)
    return Outcome(student, stages.scores, approximations)


def to_normalised(exact: Model, context: ConversionContext) -> Outcome:
    """Replace activation and softmax, then the division of the norms, all else trained each time.

    A norm's polynomial of the variance is good on an interval, and the shorter that is the fewer
    degrees do. So (0) polynomials and power attention are fitted to what happens inside the model;
    (1) it is trained with its layer norms towards the source's streams and logits, while variances
    that are far from a centre of their norm are penalised; (2) the norms get polynomials for the
    intervals that are measured then; (3) all is trained once more, variances beyond an interval
    penalised too, and guarded: there the exact root stands for a polynomial that may explode.

    Args:
        exact: a copy of the source with nothing replaced, its classifier refitted.
        context: data and options.

    Raises:
        ConversionError: a stage diverged, or degrees of norms do not fit the model.
    """
    options, settings = context.options, context.options.normalised
    degrees = check_degrees(exact, settings)
    stages = _Stages(context, {})
    power = settings.attention_power
    normed = copy_model(exact, activation="quadratic", softmax="power", attention_power=power)
    with context.clock.timing("fitted"):
        approximations = fit_replacements(
            exact, normed, context.train, options.norm_texts, settings.activation
        )
    stages.run("fitted", normed, lambda: None)

    def variances() -> Variances:
        texts = options.norm_texts
        return measure_variances(normed, context.train, texts, settings, options.seed)

    def train(model: Model, name: str, fitting: FitOptions, spread: Spread) -> None:
        set_dropout(model, settings.dropout)
        stage = context.training_stage(name, fitting, settings.losses)
        follow(model, exact, stage, context.source, spread)

    if settings.layer_norms.epochs:
        first = settings.layer_norms
        stages.run(
            "layer_norms",
            normed,
            lambda: train(normed, "layer_norms", first, spread_around(variances())),
        )
    student = copy_normalised(normed, degrees)
    settled = cache(variances)
    stages.run("roots", student, lambda: fit_roots(student, settled(), settings))
    records = zip(approximations, describe_roots(student), strict=True)
    approximations = [{**layer, **norms} for layer, norms in records]
    if settings.end_to_end.epochs:
        last = settings.end_to_end
        stages.run(
            LAST, student, lambda: train(student, LAST, last, spread_around(settled(), student))
        )
    return Outcome(student, stages.scores, approximations)


RECIPE_OF_FORM: dict[str, Callable[[Model, ConversionContext], Outcome]] = {
    "the-x": to_the_x,
    "polynomial": to_polynomial,
    "normalised": to_normalised,
}


def _bounding(exact: Model, context: ConversionContext, fitting: FitOptions) -> Callable[[], None]:
    """Training of the copy that everything later follows: towards the source, or on labels."""
    the_x = context.options.form == "the-x"
    losses = context.options.the_x.losses if the_x else context.options.polynomial.losses

    def train() -> None:
        if not fitting.epochs:
            return
        stage = context.training_stage("bounded", fitting, losses)
        if the_x and not context.options.the_x.follow:
            fine_tune(exact, stage)
        else:
            set_dropout(exact, 0.0)
            follow(exact, copy_model(exact), stage, context.source)

    return train


def copy_source(source: Source, guided: Encoded) -> Any:
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
def _head_rows(model: Any, data: Encoded) -> tuple[Tensor, Tensor]:
    """What the classifier reads of each text ``(n, d)``, and the logits to give ``(n, labels)``."""
    states, logits = [], []
    for batch in sample(data, HEAD_TEXTS):
        traces, _ = run(model.eval(), batch)
        states.append(model.read(traces[-1].layer_norm, batch["attention_mask"]))
        logits.append(batch["guide"])
    return torch.cat(states), torch.cat(logits)


def finish(outcome: Outcome, context: ConversionContext) -> Model:
    """Round, score and calibrate a model; the score goes into the outcome's stages.

    Raises:
        ConversionError: logits are not finite, values inside are enormous, or a model without
            comparisons knows no more than the most frequent label. Nothing has been saved then.
    """
    model, stages = outcome.model, outcome.stages
    model.cpu()
    if context.options.half:
        round_to_half(model)
    logits = predict(model, context.dev)
    check_logits(logits, stages)
    stages[LAST] = context.score_stage(LAST, model)
    count = context.options.calibration_texts
    strange = strange_batches(context.train, count, context.options.seed)
    with context.clock.timing("calibration"):
        calibrate_on(model, sample(context.train, count), strange)
    if lost := model.config.calibration.get("lost"):
        logger.warning(
            "%d of %d usual texts run away inside the model and are refused: variances before its "
            "norms leave the intervals of their polynomials. Longer training (--effort) makes them "
            "fewer.",
            lost,
            model.config.calibration["texts"],
        )
    if beyond := model.config.calibration["beyond"]:
        logger.warning(
            "%d of %d texts such as a word repeated give values beyond twice the calibrated range; "
            "where their logits show it, answers are refused. Longer training (--effort) makes "
            "them fewer.",
            beyond,
            model.config.calibration["strange"],
        )
    if model.config.form != "the-x":
        check_values(model.config.ranges)
        check_learned(stages, context.dev)
    return model
