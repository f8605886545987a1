"""``thex-hf info`` and ``thex-hf backend``: which engines work on this machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from thex_hf._choices import one_of
from thex_hf.circuits.protocols import LEARNS
from thex_hf.cli.options import Json, offer, show_json

PACKAGES = (
    "thex_hf", "torch", "transformers", "huggingface_hub", "accelerate", "numpy", "tenseal",
    "datasets", "evaluate", "scikit-learn", "scipy", "seqeval", "matplotlib", "concrete-ml",
)  # fmt: skip


def info(as_json: Json = False) -> None:
    """Show versions, and which backends work here and why the others do not."""
    from thex_hf.backends.registry import find_backend, list_backends
    from thex_hf.bundled import BUNDLED, bundled_checkpoint
    from thex_hf.protocol.engines import capabilities_of

    backends: dict[str, dict[str, Any]] = {}
    for name in list_backends():
        engine = find_backend(name)
        works, why = engine.available()
        can = capabilities_of(engine).to_json()
        backends[name] = {"works": works, "why_not": why, "capabilities": can}
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": backends,
        "protocols": dict(LEARNS),
        "bundled_models": {form: bundled_checkpoint(form) for form in BUNDLED},
    }
    if as_json:
        show_json(facts)
        return
    typer.echo(f"python {facts['python']}")
    for name, number in facts["packages"].items():
        typer.echo(f"{name} {number or 'not installed'}")
    for name, state in backends.items():
        typer.echo(f"backend {name}: " + ("works" if state["works"] else state["why_not"]))
    for name, learns in LEARNS.items():
        typer.echo(f"protocol {name}: {learns.split(': ', 1)[1]}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


INSTALLED = ("concrete",)
"""Engines that are installed into an environment of their own."""

backend = typer.Typer(
    help="Install or remove an engine that needs an environment of its own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help=" or ".join(INSTALLED), autocompletion=offer(*INSTALLED))]


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
    one_of("name", name, INSTALLED)
    from thex_hf.concrete import environment

    typer.echo(
        f"Concrete (BSD-3-Clause-Clear: commercial use may need a licence of its owner) goes to "
        f"{environment.folder()}; downloads {environment.DOWNLOAD}",
        err=True,
    )
    installed = environment.install(python, overwrite=overwrite)
    if as_json:
        show_json(
            {"backend": name, "folder": str(installed.folder), "versions": installed.versions}
        )
        return
    versions = installed.versions
    packages = ", ".join(f"{key} {number}" for key, number in versions["packages"].items())
    typer.echo(f"backend {name} works: python {versions['python']}, {packages}")


@backend.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Remove the engine's environment."""
    one_of("name", name, INSTALLED)
    from thex_hf.concrete import environment

    there = environment.remove()
    if as_json:
        show_json({"backend": name, "removed": there})
        return
    typer.echo(f"removed {environment.folder()}" if there else "there was none")
