"""``thex-hf client-half``: what a client needs of a model, without the encoder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from thex_hf.cli.output import Json, mebibytes, show_json


def client_half(
    model: Annotated[str, typer.Argument(help="Folder or Hub name of a THE-X model.")],
    output: Annotated[Path, typer.Argument(help="New folder for the client's half.")],
    as_json: Json = False,
) -> None:
    """Write tokenizer, embedding tables and labels of MODEL into a folder for clients.

    The encoder's weights stay out, and the folder is read without torch.
    """
    from thex_hf.cli.loading import model_folder
    from thex_hf.client.half import ClientHalf, is_half

    folder = model_folder(model)
    half = ClientHalf.open(folder)
    if find_spec("torch") and not is_half(folder):
        from thex_hf.modeling.opening import open_model

        open_model(folder).encoder_weights()  # refuses a model that no server would run
    place = half.save(output)
    size = sum(path.stat().st_size for path in place.iterdir())
    if as_json:
        show_json({"folder": str(place), "bytes": size, "labels": list(half.labels)})
        return
    typer.echo(f"wrote {place}: {mebibytes(size)}, {len(half.labels)} labels")
