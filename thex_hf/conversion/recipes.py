"""The recipes from a fine-tuned classifier to each of the forms, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from transformers.utils import logging

from thex_hf.conversion.context import LAST, ConversionContext, Model, Outcome, StageRunner
from thex_hf.conversion.options import FitOptions, NormalisedOptions, PolynomialOptions
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
from thex_hf.conversion.training.spread import Spread
from thex_hf.conversion.training.stages import (
    TrainingStage,
    distil_layers,
    distil_norms,
    fine_tune,
    follow,
    set_dropout,
)
from thex_hf.conversion.training.steadying import steady

logger = logging.get_logger(__name__)
DEEPEST = 3
"""Layers of the deepest model that was converted to polynomial form."""


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
    stages = StageRunner(context, {})

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
    stages = StageRunner(context, {})
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

        def train() -> None:
            follow(student, exact, full)
            _steady(student, exact, full, settings)

        stages.run(LAST, student, train)
    return Outcome(student, stages.scores, approximations)


def to_normalised(exact: Model, context: ConversionContext) -> Outcome:
    """Replace activation and softmax, then the division of the norms, all else trained each time.

    A norm's polynomial of the variance is good on an interval, and the shorter that is the fewer
    degrees do. So (0) polynomials and power attention are fitted to what happens inside the model;
    (1) each layer is trained by itself on the source's stream, since all of them at once are too
    far off to learn from each other's errors, and (2) all together, with their layer norms, towards
    the source's streams and logits, while variances that are far from a centre of their norm are
    penalised; (3) the norms get polynomials for the intervals that are measured then; (4) all is
    trained once more, variances beyond an interval penalised too, and guarded: there the exact root
    stands for a polynomial that may explode; at last so on texts on which values still run away.

    Args:
        exact: a copy of the source with nothing replaced, its classifier refitted.
        context: data and options.

    Raises:
        ConversionError: a stage diverged, or degrees of norms do not fit the model.
    """
    options = context.options
    settings = options.normalised.at_width(exact.config.hidden_size)
    degrees = check_degrees(exact, settings)
    stages = StageRunner(context, {})
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
        if name == LAST:
            _steady(model, exact, stage, settings, context.source, spread)

    if settings.layer_wise.epochs:
        stage = context.training_stage("layer_wise", settings.layer_wise, settings.losses)
        stages.run(
            "layer_wise",
            normed,
            lambda: distil_layers(normed, exact, stage, spread_around(variances())),
        )
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


def _steady(
    student: Model,
    exact: Model,
    last: TrainingStage,
    settings: PolynomialOptions | NormalisedOptions,
    answers: Model | None = None,
    spread: Spread | None = None,
) -> None:
    """The end of the last stage: training on texts on which values still run away."""
    if settings.steadying.epochs:
        gentle = replace(settings.steadying, seed=last.fitting.seed)
        stage = replace(last, fitting=gentle, name="steadying", held_out=None)
        steady(student, exact, stage, settings.rounds, settings.drawn, answers, spread)


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
