"""``thex-hf backend``: engines that live in an environment of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from thex_hf.cli.output import Json, show_json

backend = typer.Typer(
    help="Install or remove an engine that needs an environment of its own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="concrete")]


@backend.command()
def install(
    name: Name,
    python: Annotated[
        str | None, typer.Option(help="Python 3.11 or 3.12 to make it with; this one if none.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make it again if it is there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the engine's environment from pinned, hash-checked packages, and try it out."""
    from thex_hf.concrete import environment
    from thex_hf.pipelines.options import one_of

    one_of("name", name, OWN)
    typer.echo(
        f"Concrete (BSD-3-Clause-Clear: commercial use may need a licence of its owner) goes to "
        f"{environment.folder()}; downloads {environment.DOWNLOAD}",
        err=True,
    )
    found = environment.install(python, overwrite=overwrite)
    if as_json:
        show_json({"backend": name, "folder": str(found.folder), "versions": found.versions})
        return
    packages = ", ".join(f"{key} {number}" for key, number in found.versions["packages"].items())
    typer.echo(f"backend {name} works: python {found.versions['python']}, {packages}")


@backend.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Remove the engine's environment."""
    from thex_hf.concrete import environment
    from thex_hf.pipelines.options import one_of

    one_of("name", name, OWN)
    there = environment.remove()
    if as_json:
        show_json({"backend": name, "removed": there})
        return
    typer.echo(f"removed {environment.folder()}" if there else "there was none")


OWN = ("concrete",)
