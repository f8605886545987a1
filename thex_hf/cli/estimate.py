"""``thex-hf estimate``: what a model will cost under each protocol, before any key is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thex_hf._choices import one_of
from thex_hf.circuits.protocols import CIRCUITS, FORMS, LEARNS, PROTOCOLS, PlanOptions
from thex_hf.cli.options import (
    Flood,
    Json,
    Protocols,
    Relu,
    Ring,
    megabytes,
    offer_backends,
    show_json,
)

if TYPE_CHECKING:
    from thex_hf.backends.base import SlotBackend
    from thex_hf.protocol.engines import CircuitBackend


def estimate(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder or Hub name of a THE-X model; the bundled ones if none."),
    ] = None,
    tokens: Annotated[
        list[int] | None,
        typer.Option(min=1, max=128, help="Text length in tokens; may be given again."),
    ] = None,
    protocol: Protocols = None,
    ring: Ring = None,
    flood: Flood = None,
    backend: Annotated[
        str, typer.Option(help="Engine to time.", autocompletion=offer_backends())
    ] = "seal",
    relu: Relu = "client",
    as_json: Json = False,
) -> None:
    """Compare the protocols for MODEL: rounds, bytes, expected seconds, who learns what.

    Primitives are timed on this machine, one thread, with throwaway keys; nothing is kept. Texts
    are padded: lengths that are padded to the same one share a line, which names them.
    """
    from thex_hf.backends.registry import find_backend, get_backend
    from thex_hf.circuits.shape import BUCKETS
    from thex_hf.options import RunOptions
    from thex_hf.protocol.engines import CircuitBackend

    engine = find_backend(backend)
    wanted = [one_of("protocol", name, PROTOCOLS) for name in protocol or CIRCUITS]
    learns: dict[str, str] = dict(LEARNS)
    refused: list[str] = []
    for name in protocol or ["client-aided"]:
        RunOptions(backend, name, relu=relu).check_engine()
    if (
        ring is not None or flood is not None
    ):  # protocols without a choice are estimated beside those that have one
        able = [name for name in wanted if name != "client-aided"] or wanted
        first = wanted[0] if isinstance(engine, CircuitBackend) else able[0]
        RunOptions(backend, first, relu=relu, ring=ring, flood=flood).check_engine()
    if isinstance(engine, CircuitBackend):
        learns["client-aided"] = engine.learns
        rows = _circuits(engine, model, sorted(set(tokens or engine.buckets)), relu)
    else:
        sizes = sorted(set(tokens or BUCKETS))
        choices = [PlanOptions(name, ring=ring, flood=flood) for name in wanted]
        rows, refused = _slots(get_backend(backend), model, choices, sizes)
    if as_json:
        for row in rows:
            show_json({**row, "backend": backend, "learns": learns[row["protocol"]]})
        return
    _table(rows)
    for name in dict.fromkeys(row["protocol"] for row in rows):
        typer.echo(learns[name])
    for reason in refused:
        typer.echo(reason)


def _joined(rows: Iterable[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row for lengths that are padded to the same one; ``lengths`` are those asked for."""
    out: dict[tuple[str, int], dict[str, Any]] = {}
    for length, row in rows:
        joined = out.setdefault((row["protocol"], row["tokens"]), {"lengths": [], **row})
        joined["lengths"].append(length)
    return list(out.values())


def _circuits(
    backend: CircuitBackend, model: str | None, sizes: list[int], relu: str
) -> list[dict[str, Any]]:
    """Estimates of an engine that compiles whole maps."""
    from thex_hf.bundled import bundled_checkpoint
    from thex_hf.modeling.opening import open_model

    loaded = open_model(model or bundled_checkpoint())
    ranges, softmax = loaded.config.ranges, loaded.config.softmax
    weights = loaded.encoder_weights()
    estimates = backend.estimate(weights, sizes, ranges=ranges, softmax=softmax, relu=relu)
    return _joined((size, one.to_json()) for size, one in zip(sizes, estimates, strict=True))


def _slots(
    engine: SlotBackend, model: str | None, choices: list[PlanOptions], sizes: list[int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Estimates of an engine that computes on slots, and why some protocols have none."""
    from thex_hf.protocol.costs import estimate as add_up
    from thex_hf.protocol.costs import measure_costs

    plans, refused = _plans(model, choices, sizes)
    groups: dict[Any, dict[str, Any]] = {}
    for _, plan in plans:
        groups.setdefault(plan.parameters, {})[plan.id] = plan
    costs = {
        parameters: measure_costs(engine, list(group.values()))
        for parameters, group in groups.items()
    }
    rows = [(size, add_up(plan, costs[plan.parameters]).to_json()) for size, plan in plans]
    return _joined(rows), refused


def _plans(
    model: str | None, choices: list[PlanOptions], sizes: list[int]
) -> tuple[list[tuple[int, Any]], list[str]]:
    """Each size with its plan, by protocol, and why some protocols have none."""
    from thex_hf.bundled import bundled_checkpoint
    from thex_hf.circuits.dispatch import plan_for
    from thex_hf.circuits.shape import bucket
    from thex_hf.errors import PlanError
    from thex_hf.modeling.opening import open_model

    models: dict[str, Any] = {}
    plans, refused = [], []
    for choice in choices:
        form = FORMS[choice.protocol]
        if form not in models:
            models[form] = open_model(model or bundled_checkpoint(form))
        loaded = models[form]
        weights, config = loaded.encoder_weights(), loaded.config
        options = replace(choice, softmax=config.softmax)
        for size in sizes:
            try:
                plans.append((size, plan_for(weights, bucket(size), config.ranges, options)))
            except PlanError as error:
                refused.append(f"{choice.protocol}, {size} tokens: {error}")
                break
    if not plans:
        raise PlanError("; ".join(refused))
    return plans, refused


def _lengths(row: dict[str, Any]) -> str:
    return ", ".join(str(length) for length in row["lengths"])


def _table(rows: list[dict[str, Any]]) -> None:
    wide = max(9, *(2 + len(_lengths(row)) for row in rows))
    typer.echo(
        f"{'protocol':13}{'lengths':>{wide}}{'padded':>8}{'rounds':>7}{'server s':>9}"
        f"{'up':>11}{'down':>11}"
        f"{'keys, once':>12}{'encoding, once':>22}{'levels':>7}{'key sw.':>8}{'N':>7}{'bits':>5}"
    )
    for row in rows:
        encoding = f"{row['prepare_seconds']:.1f} s, {megabytes(row['plaintext_bytes'])}"
        typer.echo(
            f"{row['protocol']:13}{_lengths(row):>{wide}}{row['tokens']:>8}{row['rounds']:>7}"
            f"{row['server_seconds']:>9.1f}{megabytes(row['up_bytes']):>11}"
            f"{megabytes(row['down_bytes']):>11}{megabytes(row['key_bytes']):>12}"
            f"{encoding:>22}{row['levels']:>7}{row['key_switches']:>8}{row['ring_degree']:>7}"
            f"{row['modulus_bits']:>5}"
        )
