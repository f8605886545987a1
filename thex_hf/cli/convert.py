"""``thex-hf convert``: a fine-tuned BERT classifier in, one that runs on ciphertext out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thex_hf.cli.console import Json, show_json


def convert(
    source: Annotated[
        str, typer.Argument(help="Folder or Hub name of a fine-tuned classifier (BERT family).")
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    train: Annotated[
        str, typer.Option(help="Training texts: TSV, CSV or JSONL (also .gz), or a datasets name.")
    ],
    dev: Annotated[str, typer.Option(help="Texts to measure the score on: as --train.")],
    task: Annotated[
        str | None, typer.Option(help="sequence or tokens; by default what SOURCE does.")
    ] = None,
    form: Annotated[
        str, typer.Option(help="the-x (the client rectifies) or polynomial (the server does all).")
    ] = "the-x",
    fine_tune: Annotated[
        bool,
        typer.Option("--fine-tune", help="Train SOURCE on the task first; for bare encoders."),
    ] = False,
    pooling: Annotated[
        str | None, typer.Option(help="For --fine-tune of a bare encoder: cls or mean.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="Polynomial: quadratic, softplus-minimax or calibrated.")
    ] = None,
    attention_power: Annotated[
        int | None, typer.Option(help="Polynomial: exponent of attention weights, 2, 4 or 6.")
    ] = None,
    norm: Annotated[
        str | None, typer.Option(help="Polynomial: affine, or centred (mean subtracted).")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="full, or as-published (THE-X form: the paper's two stages).")
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
    batch_size: Annotated[int, typer.Option(min=1, help="Texts a training step.")] = 32,
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
    """Convert SOURCE to THE-X or polynomial form in OUTPUT, with a model card and a report.

    Killed half way, the same command goes on where it was. Run it under `accelerate launch` to
    use several processes or GPUs.
    """
    from thex_hf.conversion.convert import convert as run
    from thex_hf.conversion.flags import options_from
    from thex_hf.conversion.training.trainer import is_main_process

    options = options_from(
        form=form,
        recipe=recipe,
        effort=effort,
        batch_size=batch_size,
        fine_tune=fine_tune,
        epochs=epochs,
        learning_rate=learning_rate,
        polynomial={"activation": activation, "attention_power": attention_power, "norm": norm},
        weight_decays=tuple(weight_decay or ()),
        early_stop=early_stop,
        max_length=max_length,
        seed=seed,
        overwrite=overwrite,
        restart=restart,
    )
    report = run(source, output, train=train, dev=dev, options=options, task=task, pooling=pooling)
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
