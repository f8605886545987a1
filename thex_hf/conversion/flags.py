"""Few settings in, all options of a conversion out: what the command line offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thex_hf._choices import RECIPES, check_conversion
from thex_hf.conversion.options import ConversionOptions, PolynomialOptions, TheXOptions, stages_of
from thex_hf.conversion.training.fitting import FitOptions
from thex_hf.errors import OptionError

LEAST_DRAWN = 256


def options_from(
    *,
    form: str = "the-x",
    recipe: str = "full",
    effort: float = 1.0,
    batch_size: int = 32,
    fine_tune: bool = False,
    epochs: float | None = None,
    learning_rate: float | None = None,
    polynomial: Mapping[str, Any] | None = None,
    **others: Any,
) -> ConversionOptions:
    """Make :class:`ConversionOptions` from a few settings.

    Args:
        form: ``"the-x"`` or ``"polynomial"``.
        recipe: ``"full"``, or ``"as-published"`` for the paper's two stages.
        effort: multiplies the length of every stage; 0 leaves the fits without training.
        batch_size: of every stage.
        fine_tune: train the source on the task first.
        epochs: of that fine-tuning.
        learning_rate: its peak.
        polynomial: fields of :class:`PolynomialOptions`; those that are None are left out.
        **others: fields of :class:`ConversionOptions`.

    Raises:
        OptionError: settings that do not go together, or are not on offer.
    """
    if not isinstance(effort, int | float) or not 0 <= effort < float("inf"):
        raise OptionError(f"effort should be a number of at least 0; got {effort!r}.")
    given = {name: value for name, value in (polynomial or {}).items() if value is not None}
    check_conversion("recipe", recipe, RECIPES)
    if form == "polynomial" and recipe != "full":
        raise OptionError(f"recipe {recipe!r} is of the-x form; leave out form polynomial.")
    if form != "polynomial" and given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise OptionError(
            f"{flags}: for --form polynomial only; the form is {form!r}. Leave them out, or add "
            "--form polynomial."
        )
    if not fine_tune and (epochs is not None or learning_rate is not None):
        raise OptionError(
            "epochs and learning_rate are those of fine-tuning: add --fine-tune, or use --effort "
            "to change the length of the conversion's stages."
        )
    the_x = TheXOptions() if recipe == "full" else TheXOptions.as_published()
    base = ConversionOptions(form=form, **others)
    tuning = base.fine_tuning
    if fine_tune:
        tuning = replace(
            tuning,
            epochs=3.0 if epochs is None else epochs,
            learning_rate=learning_rate or tuning.learning_rate,
            batch_size=batch_size,
            token_dropout=0.1,
            average=0.99,
        )
    drawn = max(LEAST_DRAWN, round(PolynomialOptions.drawn * effort))
    scaled = {"drawn": drawn, **_scaled(PolynomialOptions(), effort, batch_size)}
    return replace(
        base,
        fine_tuning=tuning,
        the_x=replace(the_x, **_scaled(the_x, effort, batch_size)),
        polynomial=PolynomialOptions(**{**scaled, **given}),
    )


def _scaled(stages: TheXOptions | PolynomialOptions, effort: float, size: int) -> dict[str, Any]:
    """All training stages, longer or shorter, with one batch size."""

    def scale(fitting: FitOptions) -> FitOptions:
        least = round(fitting.least_steps * effort)
        return replace(fitting, epochs=fitting.epochs * effort, least_steps=least, batch_size=size)

    return {name: scale(fitting) for name, fitting in stages_of(stages).items()}
