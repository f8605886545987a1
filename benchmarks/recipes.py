"""Named ways to convert: the two full recipes, the paper's, and each ingredient left out.

The recipes of the ablation, ``half`` and all that leave something out of it, make half the steps
of the full one, each of them the same number: what a stage left out would have made, the last one
makes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thex_hf.conversion import ConversionOptions, FitOptions, PolynomialOptions, TheXOptions
from thex_hf.conversion.flags import STAGES

NONE = FitOptions(epochs=0.0)
FULL, PUBLISHED = TheXOptions(), TheXOptions.as_published()


def _sized(
    options: TheXOptions | PolynomialOptions, effort: float = 1.0, **changes: Any
) -> dict[str, FitOptions]:
    """All stages with batches of 32."""
    stages = {name: getattr(options, name) for name in STAGES if hasattr(options, name)}
    return {
        name: replace(
            stage,
            batch_size=32,
            epochs=effort * stage.epochs,
            least_steps=round(effort * stage.least_steps),
            **changes,
        )
        for name, stage in stages.items()
    }


def _half(fits: dict[str, Any] | None = None, **changes: Any) -> ConversionOptions:
    """The full recipe at half its length, with other fits or other settings."""
    stages = _sized(FULL, 0.5, **(fits or {}))
    return ConversionOptions(the_x=replace(FULL, **{**stages, **changes}))


def _longer_end(steps: int) -> FitOptions:
    end = _sized(FULL, 0.5)["end_to_end"]
    return replace(end, least_steps=end.least_steps + steps)


RECIPES = {
    "the-x": ConversionOptions(the_x=replace(FULL, **_sized(FULL))),  # type: ignore[arg-type]
    "polynomial": ConversionOptions(
        form="polynomial",
        polynomial=replace(PolynomialOptions(), **_sized(PolynomialOptions())),  # type: ignore[arg-type]
    ),
    "as-published": ConversionOptions(the_x=replace(PUBLISHED, **_sized(PUBLISHED))),  # type: ignore[arg-type]
    "half": _half(),
    "labels-only": _half(
        follow=False, losses=replace(FULL.losses, guide=0.0, hidden=0.0, scores=0.0)
    ),
    "logits-only": _half(losses=replace(FULL.losses, hidden=0.0, scores=0.0)),
    "no-score-control": _half(losses=replace(FULL.losses, score_penalty=0.0)),
    "no-staging": _half(relu=NONE, softmax=NONE, end_to_end=_longer_end(300)),
    "no-layer-wise": _half(layer_wise=NONE, end_to_end=_longer_end(150)),
    "no-recombining": _half({"text_mix": 0.0}),
    "no-disturbing": _half({"text_mix": 0.0, "token_swap": 0.0, "token_dropout": 0.0}),
}
