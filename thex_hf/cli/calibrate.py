"""``thex-hf calibrate``: measure a model's ranges again after its weights changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thex_hf.cli.output import Json, show_json


def calibrate(
    model: Annotated[Path, typer.Argument(help="Folder of a THE-X model.")],
    data: Annotated[
        str,
        typer.Argument(
            help="Texts such as the model will get: TSV, CSV or JSONL (also .gz), .txt with a text "
            "a line, or a datasets name."
        ),
    ],
    split: Annotated[str, typer.Option(help="Split of a named data set.")] = "train",
    limit: Annotated[int, typer.Option(min=1, help="At most so many texts, spread evenly.")] = 2048,
    as_json: Json = False,
) -> None:
    """Measure how large values inside MODEL get, and write that into its config.json.

    The encrypted circuit is sized by it. Needed after any training that follows the conversion.
    """
    from thex_hf.conversion.calibration import calibrate as run

    found = run(model, data, split=split, limit=limit)
    if as_json:
        show_json(found.to_json())
        return
    for number, entry in enumerate(found.ranges):
        sizes = ", ".join(f"{name} {size:.2f}" for name, size in entry.items())
        typer.echo(f"layer {number}: {sizes}")
    typer.echo(f"largest logit {found.logit:.2f}; {found.texts} texts")
    typer.echo(
        f"{found.beyond} of {found.strange} texts such as a word repeated gave values beyond twice "
        "that range"
    )
    typer.echo(f"wrote {model / 'config.json'}")
