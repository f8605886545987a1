"""Printing for all subcommands: people's lines, or JSON with ``--json``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def show_json(value: Any) -> None:
    """Print one JSON object on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def mebibytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB"
