"""``thex-hf estimate``: what a model will cost, before any key is made."""

from __future__ import annotations

from typing import Annotated

import typer

from thex_hf.cli.output import Json, mebibytes, show_json


def estimate(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder or Hub name of a THE-X model; the bundled one if none."),
    ] = None,
    tokens: Annotated[
        list[int] | None, typer.Option(help="Text length in tokens; may be given again.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Engine to time.")] = "seal",
    as_json: Json = False,
) -> None:
    """Show levels, rounds, key and message bytes and expected seconds of MODEL.

    Primitives are timed on this machine with throwaway keys; nothing is kept.
    """
    from thex_hf.backends.registry import get_backend
    from thex_hf.cli.loading import load_model
    from thex_hf.encrypted.planner import make_plan
    from thex_hf.encrypted.ranges import range_bits
    from thex_hf.encrypted.shape import BUCKETS, bucket
    from thex_hf.protocol.costs import estimate as add_up
    from thex_hf.protocol.costs import measure_costs

    engine = get_backend(backend)
    loaded, _ = load_model(model)
    weights = loaded.encoder_weights()
    bits = range_bits(weights, loaded.config.ranges)
    sizes = sorted({bucket(n) for n in tokens}) if tokens else list(BUCKETS)
    plans = [make_plan(weights, n, bits, softmax=loaded.config.softmax) for n in sizes]
    costs = {p: measure_costs(engine, p) for p in {plan.parameters for plan in plans}}
    for plan in plans:
        row = add_up(plan, costs[plan.parameters])
        if as_json:
            show_json({**row.to_json(), "backend": backend})
            continue
        typer.echo(
            f"{row.tokens:4} tokens: server {row.server_seconds:.1f} s, {row.rounds} rounds, "
            f"up {mebibytes(row.up_bytes)}, down {mebibytes(row.down_bytes)}; once: keys "
            f"{mebibytes(row.key_bytes)}, encoding {row.prepare_seconds:.1f} s and "
            f"{mebibytes(row.plaintext_bytes)} of memory; {row.levels} levels, "
            f"{row.key_switches} key switches, N={row.ring_degree}, {row.modulus_bits} modulus bits"
        )
