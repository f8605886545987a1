"""``thex-hf endpoint-handler``: make a model's folder fit for a Hugging Face Inference Endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thex_hf.cli.output import Json, show_json


def endpoint_handler(
    folder: Annotated[Path, typer.Argument(help="Folder of a converted model.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace handler.py and requirements.txt.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write handler.py and requirements.txt into FOLDER; push it, then make an endpoint of it."""
    from thex_hf import __version__
    from thex_hf.endpoint.endpoint import save_handler

    paths = save_handler(folder, __version__, overwrite=overwrite)
    if as_json:
        show_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        typer.echo(f"wrote {path}")
