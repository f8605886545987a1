"""``thex-hf demo``: a page to try in a browser."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    model: Annotated[
        list[str] | None,
        typer.Argument(help="Folder or Hub name of a THE-X model, one of each form; the bundled."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 7860,
) -> None:
    """Serve a page that shows client, wire and server of an encrypted classification.

    Both sides run in this process, to be looked at: it is for trying, not for serving texts of
    others, whose keys and texts it holds.
    """
    from thex_hf._extras import require

    for library in ("gradio", "PIL.Image"):
        require(library, install="'thex_hf[demo]'", purpose="the page to try")
    from thex_hf.cli.loading import model_folder
    from thex_hf.demo.page import make_page
    from thex_hf.modeling.opening import open_model

    folders = {open_model(name).config.form: model_folder(name) for name in model or []}
    typer.echo("loading models")
    page = make_page(folders or None)
    typer.echo(f"a page to try at http://{host}:{port}; stop with Ctrl-C")
    page.launch(server_name=host, server_port=port, quiet=True)
