"""``thex-hf convert``: a fine-tuned BERT classifier in, a THE-X one out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from thex_hf.cli.output import Json, show_json


def convert(
    source: Annotated[
        str, typer.Argument(help="Folder or Hub name of a fine-tuned BERT classifier.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    train: Annotated[
        str, typer.Option(help="Training texts: TSV, CSV or JSONL (also .gz), or a datasets name.")
    ],
    dev: Annotated[str, typer.Option(help="Texts to measure accuracy on: as --train.")],
    epochs: Annotated[
        float | None, typer.Option(min=0, help="Fine-tuning with ReLU; the recipe's if none.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak of fine-tuning; the recipe's if none.")
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
    """Convert SOURCE to THE-X form in OUTPUT, with a model card and a report."""
    from thex_hf.conversion.convert import convert as run
    from thex_hf.conversion.options import ConversionOptions

    base = ConversionOptions()
    first = replace(base.fine_tuning, batch_size=batch_size)
    if epochs is not None:
        first = replace(first, epochs=epochs)
    if learning_rate is not None:
        first = replace(first, learning_rate=learning_rate)
    options = replace(
        base,
        seed=seed,
        max_length=max_length,
        fine_tuning=first,
        distilling=replace(base.distilling, batch_size=batch_size),
        polish=polish,
        polishing=replace(base.polishing, batch_size=batch_size),
        overwrite=overwrite,
    )
    report = run(source, output, train=train, dev=dev, options=options)
    if as_json:
        show_json({**report.to_dict(), "output": str(output)})
        return
    typer.echo(f"{report.metric} on {report.dev_texts} texts, in per cent:")
    for name in ("unconverted", "relu_softmax", "affine", "converted"):
        typer.echo(f"  {name.replace('_', ' + '):16} {getattr(report, name):.2f}")
    typer.echo(f"saved to {output} after {report.seconds:.0f} s (seed {report.seed})")
