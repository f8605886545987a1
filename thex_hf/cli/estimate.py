"""``thex-hf estimate``: what a model will cost under each protocol, before any key is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thex_hf._choices import one_of
from thex_hf.circuits.protocols import (
    CIRCUITS,
    FORMS,
    LEARNS,
    MODEL_FORMS,
    PROTOCOL_FACTS,
    PROTOCOLS,
    PlanOptions,
    learns_of,
    serves,
)
from thex_hf.cli.options import (
    Flood,
    Json,
    Protocols,
    Relu,
    Ring,
    listed,
    megabytes,
    offer,
    offer_backends,
    show_json,
)
from thex_hf.errors import OptionError

PREPARED = "prepared"

if TYPE_CHECKING:
    from thex_hf.backends.base import SlotBackend
    from thex_hf.protocol.engines import CircuitBackend


def estimate(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Folder or Hub name of a THE-X model, or of a BERT to convert, or its config.json;"
            " the bundled ones if none."
        ),
    ] = None,
    tokens: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=512, help="Text length in tokens, over 128 for prepared; may be given again."
        ),
    ] = None,
    protocol: Protocols = None,
    form: Annotated[
        str | None,
        typer.Option(
            help=f"Take a model that is not converted as {listed(MODEL_FORMS)}; in the form of "
            "each protocol if none.",
            autocompletion=offer(*MODEL_FORMS),
        ),
    ] = None,
    ring: Ring = None,
    flood: Flood = None,
    backend: Annotated[
        str, typer.Option(help="Engine to time.", autocompletion=offer_backends())
    ] = "seal",
    relu: Relu = "client",
    as_json: Json = False,
) -> None:
    """Compare the protocols for MODEL: rounds, bytes, expected seconds, who learns what.

    Primitives are timed on this machine, one thread, with throwaway keys, in three rounds: seconds
    are the median and, in brackets, the least and the most of them. Nothing is kept. Texts are
    padded: lengths that are padded to the same one share a line, which names them. Of a model
    that is not converted only the sizes are taken. Then: the memory that each protocol needs beside
    what is free here, and which one to take.
    """
    from thex_hf.backends.registry import find_backend, get_backend
    from thex_hf.circuits.shape import BUCKETS
    from thex_hf.options import RINGED, RunOptions, choose_protocol
    from thex_hf.prepared.plan import ENGINE as PREPARED_ENGINE
    from thex_hf.protocol.engines import CircuitBackend

    engine = find_backend(backend)
    offered = PROTOCOLS if backend == PREPARED_ENGINE else CIRCUITS
    wanted = [one_of("protocol", name, PROTOCOLS) for name in protocol or offered]
    if form is None and model is not None:
        from thex_hf.cli.estimate_models import only_form  # loads torch

        form = only_form(model)
    if form is not None:
        one_of("form", form, MODEL_FORMS)
        for name in protocol or ():
            choose_protocol(name, form)
        wanted = [name for name in wanted if serves(name, form)]
        if not wanted:
            raise OptionError(f"backend {backend!r} has no protocol for models of the {form} form")
    learns: dict[str, str] = dict(LEARNS)
    refused: list[str] = []
    for name in protocol or (wanted[:1] if form else ["client-aided"]):
        RunOptions(backend, name, relu=relu).check_engine()
    if (
        ring is not None or flood is not None
    ):  # protocols without a choice are estimated beside those that have one
        able = [name for name in wanted if name in RINGED] or wanted
        first = wanted[0] if isinstance(engine, CircuitBackend) else able[0]
        RunOptions(backend, first, relu=relu, ring=ring, flood=flood).check_engine()
    if isinstance(engine, CircuitBackend):
        learns["client-aided"] = engine.learns
        rows = _circuits(engine, model, sorted(set(tokens or engine.buckets)), relu)
    else:
        sizes = sorted(set(tokens or BUCKETS))
        choices = [PlanOptions(name, ring=ring, flood=flood) for name in wanted]
        rows, refused = _slots(get_backend(backend), Asked(model, form), choices, sizes)
    rows, advice, learns[PREPARED] = advised(rows, Asked(model, form))
    if as_json:
        for line in advice:
            typer.echo(line, err=True)
        for row in rows:
            show_json({**row, "backend": backend, "learns": learns[row["protocol"]]})
        return
    _table(rows)
    for row in rows:
        if "ticket_seconds" in row:
            _ticket(row)
    for name in dict.fromkeys(row["protocol"] for row in rows):
        typer.echo(learns[name])
    for reason in refused:
        typer.echo(reason)
    for line in advice:
        typer.echo(line)


@dataclass(frozen=True)
class Asked:
    """What is to be estimated.

    Args:
        model: as the command line names it; the bundled ones if None.
        form: that it is taken in where it is not converted; that of each protocol if None.
    """

    model: str | None
    form: str | None


def advised(
    rows: list[dict[str, Any]], asked: Asked
) -> tuple[list[dict[str, Any]], list[str], str]:
    """The rows with the memory they need, what to say of it all, and what ``prepared`` shows."""
    from thex_hf.cli.estimate_advice import Machine, needs, recommendation, with_needs
    from thex_hf.cli.estimate_models import form_of

    here, form = Machine.here(), form_of(asked.model)
    said = needs(rows, here)
    if asked.model is not None and form is None:
        said.append(
            "the model is not converted: its sizes were taken, with drawn weights and ranges as "
            "models of ours have; convert it with thex-hf convert"
        )
    form = form or asked.form
    learns = learns_of(PREPARED, form or FORMS[PREPARED])
    return with_needs(rows, here), [*said, recommendation(rows, here, form)], learns


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

    loaded = open_model(model or bundled_checkpoint("the-x"))
    ranges, softmax = loaded.config.ranges, loaded.config.softmax
    weights = loaded.encoder_weights()
    estimates = backend.estimate(weights, sizes, ranges=ranges, softmax=softmax, relu=relu)
    return _joined((size, one.to_json()) for size, one in zip(sizes, estimates, strict=True))


def _slots(
    engine: SlotBackend, asked: Asked, choices: list[PlanOptions], sizes: list[int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Estimates of an engine that computes on slots, and why some protocols have none."""
    from thex_hf.protocol.costs import estimate as add_up
    from thex_hf.protocol.costs import measure_costs
    from thex_hf.protocol.prepared_costs import estimate_prepared, measure_preparation

    plans, refused = _plans(asked, choices, sizes)
    groups: dict[Any, dict[str, Any]] = {}
    for _, plan in plans:
        groups.setdefault(plan.parameters, {})[plan.id] = plan
    estimates: dict[str, Any] = {}
    for group in groups.values():
        some = list(group.values())
        if some[0].protocol == PREPARED:
            times = measure_preparation(some)
            estimates |= {plan.id: estimate_prepared(plan, times) for plan in some}
        else:
            costs = measure_costs(engine, some)
            estimates |= {plan.id: add_up(plan, costs) for plan in some}
    return _joined((size, estimates[plan.id].to_json()) for size, plan in plans), refused


def _plans(
    asked: Asked, choices: list[PlanOptions], sizes: list[int]
) -> tuple[list[tuple[int, Any]], list[str]]:
    """Each size with its plan, by protocol, and why some protocols have none."""
    from thex_hf._progress import steps
    from thex_hf.circuits.dispatch import plan_for
    from thex_hf.circuits.shape import bucket
    from thex_hf.cli.estimate_models import subject_of
    from thex_hf.errors import PlanError
    from thex_hf.prepared.plan import prepared_plan

    models: dict[str, Any] = {}
    plans, refused = [], []
    for choice in choices:
        form = asked.form or FORMS[choice.protocol]
        if form not in models:
            models[form] = subject_of(asked.model, form)
        weights, config = models[form].weights, models[form].config
        if asked.form not in (None, weights.form):
            raise OptionError(f"the model is converted, to the {weights.form} form: leave out form")
        options = replace(choice, softmax=config.softmax)
        for size in steps(sizes, f"planning {choice.protocol}"):
            try:
                padded = bucket(size, PROTOCOL_FACTS[choice.protocol].buckets)
                plan = (
                    prepared_plan(weights, padded, softmax=config.softmax)
                    if choice.protocol == PREPARED
                    else plan_for(weights, padded, config.ranges, options)
                )
                plans.append((size, plan))
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
        f"{'protocol':13}{'lengths':>{wide}}{'padded':>8}{'rounds':>7}{'server s':>20}"
        f"{'texts/h':>9}"
        f"{'up':>11}{'down':>11}"
        f"{'keys, once':>12}{'encoding, once':>22}{'levels':>7}{'key sw.':>8}{'N':>7}{'bits':>5}"
    )
    for row in rows:
        encoding = f"{row['prepare_seconds']:.1f} s, {megabytes(row['plaintext_bytes'])}"
        typer.echo(
            f"{row['protocol']:13}{_lengths(row):>{wide}}{row['tokens']:>8}{row['rounds']:>7}"
            f"{_spread(row, 'server_seconds'):>20}{_rate(row):>9}"
            f"{megabytes(row['up_bytes']):>11}{megabytes(row['down_bytes']):>11}"
            f"{megabytes(row['key_bytes']):>12}"
            f"{encoding:>22}{row['levels']:>7}{row['key_switches']:>8}{row['ring_degree']:>7}"
            f"{row['modulus_bits']:>5}"
        )


def _rate(row: dict[str, Any]) -> str:
    """Texts an hour of one core."""
    rate = row["texts_per_hour"]
    return "" if rate is None else f"{rate:,.1f}" if rate < 10 else f"{rate:,.0f}"


def _spread(row: dict[str, Any], name: str) -> str:
    """Seconds, and between which they were in other rounds."""
    usual, (least, most) = row[name], row[f"{name}_range"]
    digits = 3 if usual < 0.1 else 2
    shown = f"{usual:.{digits}f}"
    return shown if least == most else f"{shown} ({least:.{digits}f}-{most:.{digits}f})"


def _ticket(row: dict[str, Any]) -> None:
    """What a row's ticket costs, before there is a text."""
    up, down, disk = (megabytes(row[f"ticket_{name}_bytes"]) for name in ("up", "down", "disk"))
    typer.echo(
        f"{row['protocol']}, {row['tokens']} tokens, a ticket before: "
        f"{_spread(row, 'ticket_seconds')} s of one core, {up} up, {down} down, {disk} of disk; "
        f"{row['batch_tickets']} at a time"
    )
