"""``thex-hf plot``: figures of what a model costs and what its conversion changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thex_hf.cli.output import Json, show_json
from thex_hf.cli.plot_records import READERS, Wanted
from thex_hf.errors import OptionError

TAKES = {
    "cost": ("protocol", "tokens", "ring"),
    "levels": ("protocol", "tokens", "ring"),
    "stages": ("protocol",),
    "protocols": ("protocol", "tokens", "data"),
    "scores": ("protocol", "data", "source", "limit"),
}
"""Options of each kind."""
SEVERAL = ("stages", "scores")
"""Kinds that compare models."""


def plot(
    kind: Annotated[str, typer.Argument(help="cost, levels, stages, protocols or scores.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Folder or Hub name; several for stages and scores; the bundled one if none.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write: .png, .svg, .pdf and others.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="client-aided, refresh or one-shot; what suits the model if none."),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1, max=128, help="Text length. cost, levels: 32 if none. protocols: all if none."
        ),
    ] = None,
    ring: Annotated[
        int | None, typer.Option(help="Ring degree N for refresh and one-shot.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="scores: labelled texts (TSV, CSV, JSONL or a datasets name). protocols: output "
            "of estimate --json, or - for standard input."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="scores: folder or Hub name of the model before conversion.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="scores: so many texts, spread evenly; 200 if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a figure, or print the numbers behind it with --json.

    cost: operations by stage of the circuit. levels: how levels are used up, step by step. stages:
    score after each stage of a conversion. protocols: seconds and bytes. scores: attention scores
    by layer. Needs matplotlib, which the extra plots brings.
    """
    from thex_hf.pipelines.options import PROTOCOLS, one_of
    from thex_hf.reports.plots import KINDS
    from thex_hf.reports.plots.canvas import check_place, save

    one_of("kind", kind, KINDS)
    if protocol is not None:
        one_of("protocol", protocol, PROTOCOLS)
    wanted = Wanted(models or [], protocol, tokens, ring, data, source, limit)
    _refuse(kind, wanted)
    if out is not None:
        check_place(out)
    elif not as_json:
        raise OptionError("name the file to draw into: --out FILE.png; or print numbers: --json")
    records, draw = READERS[kind](wanted)
    if out is not None:
        save(draw(records), out)
    if as_json:
        for record in records:
            show_json({"figure": kind, **record.to_json()})
    else:
        typer.echo(f"wrote {out}")


def _refuse(kind: str, wanted: Wanted) -> None:
    """Refuse what a kind has no use for.

    Raises:
        OptionError: names it.
    """
    every = {name for names in TAKES.values() for name in names}
    for name in sorted(every - set(TAKES[kind])):
        if getattr(wanted, name) is not None:
            raise OptionError(f"--{name} is not for {kind}, which takes {_flags(TAKES[kind])}")
    if kind == "protocols" and wanted.models:
        raise OptionError("protocols takes no model: what it draws comes from --data")
    if kind not in SEVERAL and len(wanted.models) > 1:
        raise OptionError(f"{kind} takes one model, got {len(wanted.models)}")


def _flags(names: tuple[str, ...]) -> str:
    return ", ".join(f"--{name}" for name in names)
