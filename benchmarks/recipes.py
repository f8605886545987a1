"""Named ways to convert: the two full recipes, the paper's, and each ingredient left out."""

from __future__ import annotations

from dataclasses import replace

from thex_hf.conversion import ConversionOptions, FitOptions, PolynomialOptions, TheXOptions

NONE = FitOptions(epochs=0.0)


def _sized(options: TheXOptions | PolynomialOptions) -> dict[str, FitOptions]:
    """All stages with batches of 32."""
    names = ("bounding", "relu", "softmax", "norms", "layer_wise", "end_to_end")
    return {
        name: replace(getattr(options, name), batch_size=32)
        for name in names
        if hasattr(options, name)
    }


def _the_x(**changes: object) -> ConversionOptions:
    stages = TheXOptions()
    return ConversionOptions(the_x=replace(stages, **{**_sized(stages), **changes}))  # type: ignore[arg-type]


def _polynomial(**changes: object) -> ConversionOptions:
    stages = PolynomialOptions()
    stages = replace(stages, **{**_sized(stages), **changes})  # type: ignore[arg-type]
    return ConversionOptions(form="polynomial", polynomial=stages)


FULL = TheXOptions()
PUBLISHED = TheXOptions.as_published()
END = FULL.end_to_end


def _swapless(options: TheXOptions) -> dict[str, FitOptions]:
    return {
        name: replace(fitting, token_swap=0.0, token_dropout=0.0)
        for name, fitting in _sized(options).items()
    }


RECIPES = {
    "the-x": _the_x(),
    "polynomial": _polynomial(),
    "as-published": ConversionOptions(the_x=replace(PUBLISHED, **_sized(PUBLISHED))),  # type: ignore[arg-type]
    "labels-only": _the_x(
        follow=False, losses=replace(FULL.losses, guide=0.0, hidden=0.0, scores=0.0)
    ),
    "logits-only": _the_x(losses=replace(FULL.losses, hidden=0.0, scores=0.0)),
    "no-score-control": _the_x(losses=replace(FULL.losses, score_penalty=0.0)),
    "no-staging": _the_x(
        relu=NONE,
        softmax=NONE,
        end_to_end=replace(END, batch_size=32, epochs=2 * END.epochs, least_steps=900),
    ),
    "no-layer-wise": _the_x(
        layer_wise=NONE,
        end_to_end=replace(END, batch_size=32, epochs=2 * END.epochs, least_steps=600),
    ),
    "no-token-noise": _the_x(**_swapless(FULL)),
}
