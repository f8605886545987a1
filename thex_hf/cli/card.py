"""``thex-hf card``: measure a model and write the figures into its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from thex_hf.cli.output import Json, mebibytes, show_json


def card(
    model: Annotated[Path, typer.Argument(help="Folder of a THE-X model.")],
    data: Annotated[
        str | None,
        typer.Option(help="Labelled texts: .tsv, .csv, .jsonl, or a data set. Costs only if none."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a named data set.")] = "validation",
    fhe: Annotated[
        list[str] | None,
        typer.Option(
            help="Score in this mode: disable, simulate or execute; may be given again. "
            "disable and simulate if none."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Score so many texts, spread evenly; all if none.")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="Only this protocol; may be given again. All that suit if none."),
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=1, max=128, help="Text length whose costs are estimated.")
    ] = 32,
    ring: Annotated[
        int | None, typer.Option(help="Ring degree N for refresh and one-shot.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes of the server; all usable cores if none.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Engine.")] = "seal",
    figures: Annotated[
        bool, typer.Option("--figures", help="Draw stages, levels and costs too (extra plots).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the model card of MODEL with measured scores and costs.

    Figures go into measures.json and the part of README.md between our marks. What you wrote
    outside of it stays, and so does a README without the marks.
    """
    from thex_hf.modeling.cards.card import README, is_ours
    from thex_hf.reports.card import make_card

    measures = make_card(
        model,
        data,
        split=split,
        fhe=fhe or ("disable", "simulate"),
        limit=limit,
        protocols=protocol,
        tokens=tokens,
        ring=ring,
        processes=processes,
        backend=backend,
        figures=figures,
    )
    written = is_ours(model)
    if as_json:
        show_json({**measures, "card": str(model / README), "card_written": written})
        return
    _show(measures)
    if written:
        typer.echo(f"wrote {model / README}")
    else:
        typer.echo(
            f"{model / README} has no marks of thex_hf and was left alone; the figures are in "
            f"measures.json"
        )


def _show(measures: dict[str, Any]) -> None:
    for row in measures["scores"]:
        value = "undefined" if row["value"] is None else f"{row['value']:.4f}"
        where = f"{row['fhe']} {row.get('protocol', '')}".strip()
        typer.echo(f"{where}: {row['metric']} {value} on {row['texts']} texts")
    for row in measures["costs"]:
        how = "measured" if row.get("executed") else "estimated"
        typer.echo(
            f"{row['protocol']}, {row['tokens']} tokens: {row['rounds']} rounds, server "
            f"{row['server_seconds']:.2f} s ({how}), keys {mebibytes(row['key_bytes'])}, up "
            f"{mebibytes(row['up_bytes'])}, down {mebibytes(row['down_bytes'])}"
        )
