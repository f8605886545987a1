"""``thex-hf convert``: a fine-tuned BERT classifier in, one that runs on ciphertext out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thex_hf.cli.output import Json, show_json

if TYPE_CHECKING:
    from thex_hf.conversion.options import ConversionOptions
    from thex_hf.conversion.trainer import FitOptions


def convert(
    source: Annotated[
        str, typer.Argument(help="Folder or Hub name of a fine-tuned BERT classifier.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    train: Annotated[
        str, typer.Option(help="Training texts: TSV, CSV or JSONL (also .gz), or a datasets name.")
    ],
    dev: Annotated[str, typer.Option(help="Texts to measure accuracy on: as --train.")],
    form: Annotated[
        str, typer.Option(help="the-x (the client rectifies) or polynomial (the server does all).")
    ] = "the-x",
    activation: Annotated[
        str | None, typer.Option(help="Polynomial: quadratic, softplus-minimax or calibrated.")
    ] = None,
    attention_power: Annotated[
        int | None, typer.Option(help="Polynomial: exponent of attention weights, 2, 4 or 6.")
    ] = None,
    norm: Annotated[
        str | None, typer.Option(help="Polynomial: affine, or centred (mean subtracted).")
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(min=0, help="The-x: fine-tuning with ReLU; polynomial: layer by layer."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak in that stage; the recipe's if none.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts a training step.")] = 64,
    max_length: Annotated[int, typer.Option(min=2, max=128, help="Tokens a text.")] = 128,
    polish: Annotated[
        bool,
        typer.Option("--polish/--no-polish", help="A last pass end to end (not in the paper)."),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of all stages.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier conversion in OUTPUT.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert SOURCE to THE-X or polynomial form in OUTPUT, with a model card and a report."""
    from thex_hf.conversion.convert import convert as run
    from thex_hf.conversion.options import ConversionOptions

    base = ConversionOptions(form=form, seed=seed, max_length=max_length, overwrite=overwrite)
    named = {"activation": activation, "attention_power": attention_power, "norm": norm}
    stage = {"epochs": epochs, "learning_rate": learning_rate}
    if form == "polynomial":
        options = _polynomial(base, _given(named), _given(stage), batch_size, polish)
    else:
        _refuse(_given(named), form)
        options = _the_x(base, _given(stage), batch_size, polish)
    report = run(source, output, train=train, dev=dev, options=options)
    if as_json:
        show_json({**report.to_dict(), "output": str(output)})
        return
    typer.echo(f"{report.metric} on {report.dev_texts} texts, in per cent:")
    for name, value in report.stages.items():
        typer.echo(f"  {name.replace('_', ' + ' if form == 'the-x' else '-'):16} {value:.2f}")
    typer.echo(f"saved to {output} after {report.seconds:.0f} s (seed {report.seed})")


def _given(values: Mapping[str, object]) -> dict[str, object]:
    """Keep what was set on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def _refuse(named: dict[str, object], form: str) -> None:
    """Raise on options that only the polynomial form has.

    Raises:
        OptionError: names them.
    """
    from thex_hf.errors import OptionError

    if named:
        flags = ", ".join("--" + name.replace("_", "-") for name in named)
        raise OptionError(
            f"{flags}: for --form polynomial only; the form is {form!r}. Leave them out, or add "
            "--form polynomial."
        )


def _the_x(
    base: ConversionOptions, stage: dict[str, object], size: int, polish: bool
) -> ConversionOptions:
    """Apply the flags to the stages of THE-X."""
    return replace(
        base,
        fine_tuning=_sized(base.fine_tuning, size, stage),
        distilling=_sized(base.distilling, size),
        polishing=_sized(base.polishing, size),
        polish=polish,
    )


def _polynomial(
    base: ConversionOptions,
    named: dict[str, object],
    stage: dict[str, object],
    size: int,
    polish: bool,
) -> ConversionOptions:
    """Apply the flags to the stages of the polynomial form."""
    old = base.polynomial
    end = _sized(old.end_to_end, size, {} if polish else {"epochs": 0.0})
    new = replace(
        old,
        bounding=_sized(old.bounding, size),
        layer_wise=_sized(old.layer_wise, size, stage),
        end_to_end=end,
        **named,  # type: ignore[arg-type]
    )
    return replace(base, polynomial=new)


def _sized(fitting: FitOptions, size: int, changes: dict[str, object] | None = None) -> FitOptions:
    """Set the batch size of a stage, and what else is given."""
    return replace(fitting, batch_size=size, **(changes or {}))  # type: ignore[arg-type]
