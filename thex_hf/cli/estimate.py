"""``thex-hf estimate``: what a model will cost under each protocol, before any key is made."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from thex_hf.cli.output import Json, mebibytes, show_json


def estimate(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder or Hub name of a THE-X model; the bundled ones if none."),
    ] = None,
    tokens: Annotated[
        list[int] | None, typer.Option(help="Text length in tokens; may be given again.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Only this protocol; may be given again.")
    ] = None,
    ring: Annotated[
        int | None, typer.Option(help="Ring degree N for refresh and one-shot.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Engine to time.")] = "seal",
    as_json: Json = False,
) -> None:
    """Compare the protocols for MODEL: rounds, bytes, expected seconds, who learns what.

    Primitives are timed on this machine, one thread, with throwaway keys; nothing is kept.
    """
    from thex_hf.backends.registry import get_backend
    from thex_hf.encrypted.shape import BUCKETS, bucket
    from thex_hf.pipelines.options import LEARNS, PROTOCOLS, one_of
    from thex_hf.protocol.costs import estimate as add_up
    from thex_hf.protocol.costs import measure_costs

    engine = get_backend(backend)
    wanted = [one_of("protocol", name, PROTOCOLS) for name in protocol or PROTOCOLS]
    sizes = sorted({bucket(n) for n in tokens}) if tokens else list(BUCKETS)
    plans, refused = _plans(model, wanted, sizes, ring)
    groups: dict[Any, list[Any]] = {}
    for plan in plans:
        groups.setdefault(plan.parameters, []).append(plan)
    costs = {parameters: measure_costs(engine, own) for parameters, own in groups.items()}
    rows = [add_up(plan, costs[plan.parameters]).to_json() for plan in plans]
    if as_json:
        for row in rows:
            show_json({**row, "backend": backend, "learns": LEARNS[row["protocol"]]})
        return
    _table(rows)
    for name in dict.fromkeys(row["protocol"] for row in rows):
        typer.echo(LEARNS[name])
    for reason in refused:
        typer.echo(reason)


def _plans(
    model: str | None, wanted: list[str], sizes: list[int], ring: int | None
) -> tuple[list[Any], list[str]]:
    """Plans of each protocol and size, and why some protocols have none."""
    from thex_hf.cli.loading import load_model
    from thex_hf.encrypted.circuits import FORMS, plan_for
    from thex_hf.errors import PlanError

    models: dict[str, Any] = {}
    plans, refused = [], []
    for name in wanted:
        form = FORMS[name]
        if form not in models:
            models[form] = load_model(model, form)[0]
        loaded = models[form]
        weights, config = loaded.encoder_weights(), loaded.config
        for size in sizes:
            try:
                plan = plan_for(
                    weights, size, config.ranges, protocol=name, softmax=config.softmax,
                    ring_degree=ring,
                )  # fmt: skip
                plans.append(plan)
            except PlanError as error:
                refused.append(f"{name}, {size} tokens: {error}")
                break
    if not plans:
        raise PlanError("; ".join(refused))
    return plans, refused


def _table(rows: list[dict[str, Any]]) -> None:
    typer.echo(
        f"{'protocol':13}{'tokens':>7}{'rounds':>7}{'server s':>9}{'up':>11}{'down':>11}"
        f"{'keys, once':>12}{'encoding, once':>22}{'levels':>7}{'key sw.':>8}{'N':>7}{'bits':>5}"
    )
    for row in rows:
        encoding = f"{row['prepare_seconds']:.1f} s, {mebibytes(row['plaintext_bytes'])}"
        typer.echo(
            f"{row['protocol']:13}{row['tokens']:>7}{row['rounds']:>7}"
            f"{row['server_seconds']:>9.1f}{mebibytes(row['up_bytes']):>11}"
            f"{mebibytes(row['down_bytes']):>11}{mebibytes(row['key_bytes']):>12}"
            f"{encoding:>22}{row['levels']:>7}{row['key_switches']:>8}{row['ring_degree']:>7}"
            f"{row['modulus_bits']:>5}"
        )
