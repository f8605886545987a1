"""``thex-hf info``: what works here, found out by importing it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from thex_hf.cli.output import Json, show_json

PACKAGES = (
    "thex_hf", "torch", "transformers", "huggingface_hub", "accelerate", "numpy", "tenseal",
    "datasets", "evaluate", "scikit-learn", "scipy", "seqeval", "matplotlib", "concrete-ml",
)  # fmt: skip


def info(as_json: Json = False) -> None:
    """Show versions, and which backends work here and why the others do not."""
    from thex_hf.backends.registry import find_backend, list_backends
    from thex_hf.circuits.protocols import LEARNS
    from thex_hf.pipelines.bundled import BUNDLED, bundled_checkpoint
    from thex_hf.protocol.engines import capabilities_of

    backends: dict[str, dict[str, Any]] = {}
    for name in list_backends():
        found = find_backend(name)
        works, why = found.available()
        can = capabilities_of(found).to_json()
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
