"""``thex-hf convert``: a fine-tuned BERT classifier in, one that runs on ciphertext out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from thex_hf._choices import (
    CONVERTED_FORMS,
    NORM_DEGREES,
    POLYNOMIAL_NORMS,
    POOLINGS,
    POWERS,
    RECIPES,
    check_conversion,
    check_source,
)
from thex_hf.cli.options import Json, check_data, listed, offer, show_json
from thex_hf.tasks import SOURCES


def offer_activations(incomplete: str) -> list[str]:
    """What a shell completes: the activations that are installed."""
    from thex_hf.approximations.activation_registry import list_activations

    return offer(*list_activations())(incomplete)


def convert(
    source: Annotated[
        str, typer.Argument(help="Folder or Hub name of a fine-tuned classifier (BERT family).")
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    train: Annotated[
        str,
        typer.Option(help="Training texts: TSV, CSV, JSONL (.gz), Parquet; a datasets name."),
    ],
    dev: Annotated[str, typer.Option(help="Texts to measure the score on: as --train.")],
    task: Annotated[
        str | None,
        typer.Option(
            help=f"{listed(SOURCES)}; by default what SOURCE does.",
            autocompletion=offer(*SOURCES),
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            help="the-x (the client rectifies), polynomial (the server does all) or normalised (as "
            "polynomial, for deep models).",
            autocompletion=offer(*CONVERTED_FORMS),
        ),
    ] = "the-x",
    fine_tune: Annotated[
        bool,
        typer.Option("--fine-tune", help="Train SOURCE on the task first; for bare encoders."),
    ] = False,
    pooling: Annotated[
        str | None,
        typer.Option(
            help=f"For --fine-tune of a bare encoder: {listed(POOLINGS)}.",
            autocompletion=offer(*POOLINGS),
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            help="Polynomial, normalised: quadratic, softplus-minimax or calibrated.",
            autocompletion=offer_activations,
        ),
    ] = None,
    attention_power: Annotated[
        int | None,
        typer.Option(
            help="Polynomial, normalised: exponent of attention weights, "
            f"{listed(map(str, POWERS))}.",
            autocompletion=offer(*POWERS),
        ),
    ] = None,
    norm: Annotated[
        str | None,
        typer.Option(
            help="Polynomial: affine, or centred (mean subtracted).",
            autocompletion=offer(*POLYNOMIAL_NORMS),
        ),
    ] = None,
    norm_degree: Annotated[
        int | None,
        typer.Option(
            help=f"Normalised: degree in the norms, {listed(map(str, NORM_DEGREES[1:]))}.",
            autocompletion=offer(*NORM_DEGREES[1:]),
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="full, or as-published (THE-X form: the paper's two stages).",
            autocompletion=offer(*RECIPES),
        ),
    ] = "full",
    effort: Annotated[
        float, typer.Option(min=0, help="Multiplies the length of every stage; 0: fits only.")
    ] = 1.0,
    epochs: Annotated[
        float | None, typer.Option(min=0, help="Passes of --fine-tune (3 if none).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak of --fine-tune; 5e-5 if none.")
    ] = None,
    weight_decay: Annotated[
        list[float] | None,
        typer.Option(min=0, help="Of all stages; several are tried, the best is kept."),
    ] = None,
    early_stop: Annotated[
        bool, typer.Option("--early-stop", help="Judge by held-out training texts when to stop.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Texts a training step; 32 (normalised: 64) if none.")
    ] = None,
    max_length: Annotated[int, typer.Option(min=2, max=128, help="Tokens a text.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of all stages.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier conversion in OUTPUT.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop an unfinished conversion to OUTPUT.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert SOURCE to one of the three forms in OUTPUT, with a model card and a report.

    Killed half way, the same command goes on where it was. Run it under `accelerate launch` to
    use several processes or GPUs.
    """
    shared = {"activation": activation, "attention_power": attention_power}
    normalised = {"norm_degree": norm_degree, **(shared if form == "normalised" else {})}
    polynomial = {"norm": norm, **(shared if form != "normalised" else {})}
    _check(form, recipe, {"polynomial": polynomial, "normalised": normalised}.get(form, {}))
    check_source(task, pooling)
    for data in (train, dev):
        check_data(data)
    from thex_hf.conversion.convert import convert as run
    from thex_hf.conversion.options import options_from
    from thex_hf.conversion.training.trainer import is_main_process

    options = options_from(
        form=form,
        recipe=recipe,
        effort=effort,
        batch_size=batch_size,
        fine_tune=fine_tune,
        epochs=epochs,
        learning_rate=learning_rate,
        polynomial=polynomial,
        normalised=normalised,
        weight_decays=tuple(weight_decay or ()),
        early_stop=early_stop,
        max_length=max_length,
        seed=seed,
        overwrite=overwrite,
        restart=restart,
    )
    report = run(
        source,
        output,
        train=train,
        dev=dev,
        options=options,
        task=task,
        pooling=pooling,
        announce=partial(typer.echo, err=True),
    )
    if not is_main_process():
        return
    if as_json:
        show_json({**report.to_dict(), "output": str(output)})
        return
    typer.echo(f"{report.metric} on {report.dev_texts} texts, in per cent:")
    for name, value in report.stages.items():
        typer.echo(
            f"  {name.replace('_', ' + ' if name == 'relu_softmax' else '-'):16} {value:.2f}"
        )
    for decay, value in report.search.items():
        typer.echo(f"  weight decay {decay}: {value:.2f} on held-out texts")
    typer.echo(f"saved to {output} after {report.seconds:.0f} s (seed {report.seed})")


def _check(form: str, recipe: str, settings: Mapping[str, object]) -> None:
    """Refuse what is not on offer before torch is loaded; what does not go together, later."""
    check_conversion("recipe", recipe, RECIPES)
    check_conversion("form", form, CONVERTED_FORMS)
    if not settings:
        return
    from thex_hf.approximations.activation_registry import list_activations

    offers: dict[str, Sequence[object]] = {
        "activation": list_activations(),
        "attention_power": POWERS,
        "norm": POLYNOMIAL_NORMS,
        "norm_degree": NORM_DEGREES[1:],
    }
    for name, value in settings.items():
        if value is not None:
            check_conversion(name, value, offers[name], f" in {form} form")
