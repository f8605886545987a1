"""``thex-hf prepare``: tickets for texts to come, for protocol ``prepared``."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thex_hf._choices import REMOTE
from thex_hf._paths import user_path
from thex_hf.cli.elsewhere import Server, Token, Url, Verify, server_of
from thex_hf.cli.options import Json, Processes, megabytes, show_json
from thex_hf.errors import KeyStoreError, OptionError

if TYPE_CHECKING:
    from thex_hf.client.exchange import Client
    from thex_hf.protocol.prepared_costs import TicketForecast

PROTOCOL = "prepared"


def prepare(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Folder or Hub name of a THE-X model, or with --url the "
            "client's half of one; the bundled one if none."
        ),
    ] = None,
    tickets: Annotated[
        int | None,
        typer.Option(min=1, help="Tickets to prepare; whole batches are. One batch if none."),
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=1, max=512, help="The longest text that they serve, in tokens.")
    ] = 32,
    keys: Annotated[
        Path | None, typer.Option(help="Directory to keep keys and tickets in; needed.")
    ] = None,
    url: Url = None,
    token: Token = None,
    verify: Verify = None,
    processes: Processes = None,
    as_json: Json = False,
) -> None:
    """Prepare tickets, each of which lets one text be answered at once under protocol prepared.

    With --url the server there prepares its half; without, both halves are made and kept on this
    machine. A forecast comes first. Interrupted, it leaves whole batches only.
    """
    if keys is None:
        raise OptionError("tickets are kept in a directory: give --keys DIR, and again to classify")
    server = server_of(REMOTE if url else "seal", url, token, verify)
    if server is not None and processes is not None:
        raise OptionError("--processes is the server's choice with --url: leave it out")
    from thex_hf.processes import check_processes

    place = user_path("keys", keys)
    check_processes(processes)
    client = _client(model, server, place, processes)
    plan: Any = client.plan(tokens)
    batch = plan.batch.tickets
    batches = -(-(tickets or batch) // batch)
    forecast = _forecast(plan)
    stock = client.stock(plan)
    work = Work(batches, forecast, 1 if server else _processes(plan, processes))
    room = _room(place)
    if not as_json:
        _say(plan.tokens, tickets, work, room, place)
    check_room(work, room, place)
    seconds, up, down = 0.0, 0, 0
    for number in range(1, batches + 1):
        made = client.prepare_tickets(plan)
        seconds, up, down = seconds + made.seconds, up + made.bytes_up, down + made.bytes_down
        if not as_json and batches > 1:
            typer.echo(f"{number * batch} of {batches * batch} tickets, {seconds:.0f} s", err=True)
    count = batches * batch
    if as_json:
        show_json(
            {
                "prepared": count,
                "tickets": stock.left(),
                "tokens": plan.tokens,
                "protocol": PROTOCOL,
                "seconds": {"prepare": seconds, "forecast": work.seconds},
                "bytes": {
                    "prepare_up": up // count,
                    "prepare_down": down // count,
                    "disk": forecast.disk_bytes,
                },
            }
        )
        return
    typer.echo(
        f"prepared {count} tickets in {seconds:.1f} s: {megabytes(up)} up, {megabytes(down)} down; "
        f"{stock.left()} are left for texts of up to {plan.tokens} tokens"
    )


@dataclass(frozen=True)
class Work:
    """What there is to do.

    Args:
        batches: to prepare.
        ticket: what each is expected to cost.
        processes: that share it.
    """

    batches: int
    ticket: TicketForecast
    processes: int

    @property
    def tickets(self) -> int:
        """In all."""
        return self.batches * self.ticket.tickets

    @property
    def seconds(self) -> float:
        """Of wall-clock time, expected."""
        return self.tickets * self.ticket.seconds / self.processes

    @property
    def disk(self) -> int:
        """Bytes that the client keeps."""
        return self.tickets * self.ticket.disk_bytes


def check_room(work: Work, room: int, place: Path) -> None:
    """Refuse work whose tickets would not fit the disk.

    Raises:
        KeyStoreError: says how much is wanted and how much there is.
    """
    if work.disk > room:
        raise KeyStoreError(
            f"{work.tickets} tickets take {megabytes(work.disk)} and {place} has "
            f"{megabytes(room)} free: make room, prepare fewer, or name another directory"
        )


def _client(model: str | None, server: Server | None, keys: Path, processes: int | None) -> Client:
    """The client that prepares, of a server there or here."""
    if server is not None and model is not None:
        from thex_hf.client.half import ClientHalf, is_half

        if is_half(model):
            from thex_hf.client.client import ThexClient

            half = ClientHalf.open(model)
            return ThexClient(half, server.transport(), keys, protocol=PROTOCOL).client
    from thex_hf.bundled import bundled_checkpoint
    from thex_hf.modeling.opening import open_model
    from thex_hf.options import RunOptions
    from thex_hf.pipelines.runner import ticket_client

    loaded = open_model(model or bundled_checkpoint("polynomial"))
    elsewhere = server.options() if server else {}
    options = RunOptions(
        REMOTE if server else "seal", PROTOCOL, keys=keys, processes=processes, **elsewhere
    )
    return ticket_client(loaded, options.resolved(loaded.config.form))


def _forecast(plan: Any) -> TicketForecast:
    from thex_hf.protocol.prepared_costs import forecast, measure_preparation

    return forecast(plan, measure_preparation([plan]))


def _processes(plan: Any, processes: int | None) -> int:
    """Processes that a batch is spread over: no more than there are jobs of a kind."""
    from thex_hf.processes import can_fork, usable_cores

    wanted = processes or usable_cores()
    return min(wanted, len(plan.batch.product_jobs)) if can_fork() else 1


def _room(place: Path) -> int:
    """Bytes free on the disk of a folder that may not be there yet."""
    there = next(one for one in (place, *place.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free


def _say(tokens: int, tickets: int | None, work: Work, room: int, place: Path) -> None:
    """The forecast, and that batches are whole."""
    ticket, count = work.ticket, work.tickets
    if tickets not in (None, count):
        typer.echo(
            f"batches are whole: {count} tickets instead of {tickets}, {ticket.tickets} a batch at "
            f"{tokens} tokens"
        )
    typer.echo(
        f"{count} tickets for texts of up to {tokens} tokens, an estimate: {work.seconds:.0f} s, "
        f"{megabytes(ticket.up_bytes * count)} up, {megabytes(ticket.down_bytes * count)} down, "
        f"{megabytes(work.disk)} of disk in {place} ({megabytes(room)} free)"
    )
