"""Named ways to convert: the full recipes, the paper's, and each ingredient left out.

``the-x-half`` makes half the steps of the full one, for models that are larger; ``the-x-wide``
does so at a third of the learning rates, which were chosen for a hidden size of 128, a third of
MiniLM's. ``the-x-logits`` is the full one following logits alone. ``normalised`` is what
``thex-hf convert --form normalised`` does, and ``normalised-...`` are the same but for one thing:
the power of attention, the activation's start, the degree of the norms' polynomials, following
logits alone, no layer-wise stage (its steps go to the next one), or the number of steps.

The recipes of the ablation, ``short`` and all that leave something out of it, make a fifth of the
steps of the full one, each of them the same number: what a stage left out would have made, the last
one makes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thex_hf.conversion import (
    ConversionOptions,
    FitOptions,
    NormalisedOptions,
    PolynomialOptions,
    TheXOptions,
    options_from,
)
from thex_hf.conversion.stage_options import stages_of
from thex_hf.weights import USUAL_DEGREE

SHORT = 0.2
NONE = FitOptions(epochs=0.0)
LOGITS: dict[str, Any] = {"hidden": 0.0, "scores": 0.0}
FULL, PUBLISHED = TheXOptions(), TheXOptions.as_published()


def _sized(
    options: TheXOptions | PolynomialOptions, effort: float = 1.0, rate: float = 1.0, **changes: Any
) -> dict[str, FitOptions]:
    """All stages with batches of 32, ``effort`` times as long at ``rate`` times the rate."""
    return {
        name: replace(
            stage,
            batch_size=32,
            epochs=effort * stage.epochs,
            least_steps=round(effort * stage.least_steps),
            learning_rate=rate * stage.learning_rate,
            **changes,
        )
        for name, stage in stages_of(options).items()
    }


def _short(fits: dict[str, Any] | None = None, **changes: Any) -> ConversionOptions:
    """The full recipe at a fifth of its length, with other fits or other settings."""
    stages = _sized(FULL, SHORT, **(fits or {}))
    return ConversionOptions(the_x=replace(FULL, **{**stages, **changes}))


def _longer_end(*left_out: str) -> FitOptions:
    stages = _sized(FULL, SHORT)
    end = stages["end_to_end"]
    return replace(end, least_steps=end.least_steps + sum(stages[n].least_steps for n in left_out))


def _normalised(**changes: Any) -> ConversionOptions:
    return ConversionOptions(form="normalised", normalised=replace(NormalisedOptions(), **changes))


RECIPES = {
    "the-x": ConversionOptions(the_x=replace(FULL, **_sized(FULL))),  # type: ignore[arg-type]
    "the-x-half": ConversionOptions(the_x=replace(FULL, **_sized(FULL, 0.5))),  # type: ignore[arg-type]
    "the-x-wide": ConversionOptions(the_x=replace(FULL, **_sized(FULL, 0.5, 1 / 3))),  # type: ignore[arg-type]
    "the-x-logits": ConversionOptions(
        the_x=replace(FULL, **_sized(FULL), losses=replace(FULL.losses, **LOGITS))  # type: ignore[arg-type]
    ),
    "polynomial": ConversionOptions(
        form="polynomial",
        polynomial=replace(PolynomialOptions(), **_sized(PolynomialOptions())),  # type: ignore[arg-type]
    ),
    "normalised": _normalised(),
    "normalised-power-4": _normalised(attention_power=4),
    "normalised-power-6": _normalised(attention_power=6),
    "normalised-quadratic": _normalised(activation="quadratic"),
    "normalised-softplus": _normalised(activation="softplus-minimax"),
    "normalised-degree-2": _normalised(norm_degree=2),
    "normalised-degree-8": _normalised(norm_degree=8),
    "normalised-short": options_from(form="normalised", effort=0.4),
    "normalised-no-layer-wise": _normalised(
        layer_wise=NONE, layer_norms=replace(NormalisedOptions().layer_norms, least_steps=1250)
    ),
    "normalised-constant": _normalised(norm_degrees=((0, 0),) * 6),
    "normalised-constant-first": _normalised(norm_degrees=((0, USUAL_DEGREE),) * 6),
    "normalised-logits": _normalised(losses=replace(NormalisedOptions().losses, **LOGITS)),
    "normalised-long": options_from(form="normalised", effort=3.0),
    "normalised-power-4-long": options_from(
        form="normalised", effort=3.0, normalised={"attention_power": 4}
    ),
    "as-published": ConversionOptions(the_x=replace(PUBLISHED, **_sized(PUBLISHED))),  # type: ignore[arg-type]
    "short": _short(),
    "labels-only": _short(follow=False, losses=replace(FULL.losses, guide=0.0, **LOGITS)),
    "logits-only": _short(losses=replace(FULL.losses, **LOGITS)),
    "no-score-control": _short(losses=replace(FULL.losses, score_penalty=0.0)),
    "no-staging": _short(relu=NONE, softmax=NONE, end_to_end=_longer_end("relu", "softmax")),
    "no-layer-wise": _short(layer_wise=NONE, end_to_end=_longer_end("layer_wise")),
    "no-recombining": _short({"text_mix": 0.0}),
    "no-disturbing": _short({"text_mix": 0.0, "token_swap": 0.0, "token_dropout": 0.0}),
}
