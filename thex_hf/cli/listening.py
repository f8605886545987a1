"""``thex-hf serve`` and ``thex-hf demo``: what listens at a port."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thex_hf.circuits.protocols import UNSERVED, learns_of
from thex_hf.cli.options import (
    Flood,
    Json,
    Protocol,
    Ring,
    Softmax,
    WeightsMemory,
    check_choices,
    megabytes,
    offer_backends,
    show_json,
)

TICKET_BATCHES, TICKET_BATCHES_PER_KEYS = 4096, 64
"""As :class:`thex_hf.serving.tickets.TicketLimits`, which loads too much for help."""


def serve(
    model: Annotated[
        str | None, typer.Argument(help="Folder or Hub name of a THE-X model; the bundled one.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    protocol: Protocol = None,
    backend: Annotated[
        str, typer.Option(help="Engine with slots.", autocompletion=offer_backends())
    ] = "seal",
    softmax: Softmax = None,
    ring: Ring = None,
    flood: Flood = None,
    bucket: Annotated[
        list[int] | None,
        typer.Option(help="Padded length to serve, in tokens; repeat for several; all if none."),
    ] = None,
    batches: Annotated[
        bool,
        typer.Option(
            "--batches", help="Take many texts in one request, under refresh; larger messages."
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes that compute; all usable cores if none.")
    ] = None,
    keys: Annotated[
        str | None,
        typer.Option(help="Folder, or address of a database, for clients' evaluation keys."),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="File of lines 'owner token', readable by you alone.")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="Serve other machines without tokens.")
    ] = False,
    certificate: Annotated[Path | None, typer.Option(help="Certificate, for https.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Private key of it.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="Connections at once.")] = 256,
    connections_per_address: Annotated[
        int | None,
        typer.Option(min=1, help="From one address; behind a proxy as many as --connections."),
    ] = None,
    run_seconds: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a client may take for a reply.")
    ] = 600.0,
    step_seconds: Annotated[
        float, typer.Option(min=0.001, help="Seconds that one step of a text may take.")
    ] = 300.0,
    worker_memory: Annotated[
        float, typer.Option(min=0.001, help="GB that a worker may take beside the shared weights.")
    ] = 4.0,
    ticket_days: Annotated[
        float, typer.Option(min=0.001, help="Days after which tickets expire, under prepared.")
    ] = 7.0,
    ticket_batches: Annotated[
        int, typer.Option(min=1, help="Batches of tickets that are kept, in all, under prepared.")
    ] = TICKET_BATCHES,
    ticket_batches_per_keys: Annotated[
        int, typer.Option(min=1, help="Batches of tickets under one key file, under prepared.")
    ] = TICKET_BATCHES_PER_KEYS,
    preparations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Jobs of preparing tickets at once, in each worker; what its memory takes.",
        ),
    ] = None,
    forget_tickets: Annotated[
        bool,
        typer.Option(
            "--forget-tickets", help="Drop all tickets first: after a backup was brought back."
        ),
    ] = False,
    weights_memory: WeightsMemory = None,
    as_json: Json = False,
) -> None:
    """Serve MODEL over HTTP. The server never sees a text, nor a key that decrypts."""
    if backend not in UNSERVED:  # those are refused below
        check_choices(
            backend, protocol, softmax=softmax, ring=ring, flood=flood, processes=workers,
            weights_memory=weights_memory,
        )  # fmt: skip
    from thex_hf._extras import require

    for library in ("fastapi", "uvicorn", "prometheus_client"):
        require(library, install="'thex_hf[serve]'", purpose="serving")
    from transformers.utils import logging

    from thex_hf import __version__
    from thex_hf.bundled import bundled_checkpoint
    from thex_hf.endpoint.spec import spec_of
    from thex_hf.modeling.opening import open_model
    from thex_hf.options import RunOptions
    from thex_hf.processes import check_processes, usable_cores
    from thex_hf.serving.http.serve import ListenOptions
    from thex_hf.serving.http.serve import serve as run
    from thex_hf.serving.http.settings import Settings
    from thex_hf.serving.tickets import TicketLimits

    logging.disable_progress_bar()  # standard error is the log
    listening = ListenOptions(host, port, tokens, everybody, certificate, private_key)
    check_processes(workers)
    asked = RunOptions(backend, protocol, softmax=softmax)
    opened = open_model(model or bundled_checkpoint(asked.bundled_form()))
    spec = spec_of(
        opened,
        keys or str(_default_place()),
        protocol=protocol,
        backend=backend,
        softmax=softmax,
        ring=ring,
        flood=flood,
        buckets=bucket,
        batches=batches,
        run_seconds=run_seconds,
        memory=int(worker_memory * 1e9),
        preparations=preparations or 0,
        tickets=TicketLimits(ticket_batches_per_keys, ticket_batches, 86400 * ticket_days),
        weights_memory=weights_memory,
    )
    count = workers or usable_cores()

    def ready(url: str) -> None:
        if as_json:
            show_json({"url": url, "protocol": spec.options.protocol, "workers": count})
            return
        typer.echo(learns_of(spec.options.protocol, opened.config.form))
        typer.echo(f"serving at {url} with {count} workers; stop with Ctrl-C")

    if not as_json:
        typer.echo(f"encoding weights of {megabytes(len(spec.weights))} for {spec.buckets} tokens")
    run(
        spec,
        listening,
        workers=count,
        seconds=step_seconds,
        version=__version__,
        settings=Settings.of_connections(connections, connections_per_address),
        forget_tickets=forget_tickets,
        ready=ready,
    )


def _default_place() -> Path:
    """Where clients' keys go if nobody says."""
    from thex_hf.concrete.environment import home

    return home() / "served-keys"


def demo(
    model: Annotated[
        list[str] | None,
        typer.Argument(help="Folder or Hub name of a THE-X model, one of each form; the bundled."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 7860,
) -> None:
    """Serve a page that shows client, wire and server of an encrypted classification.

    Both sides run in this process, to be looked at: it is for trying, not for serving texts of
    others, whose keys and texts it holds.
    """
    from thex_hf._extras import require

    for library in ("gradio", "PIL.Image"):
        require(library, install="'thex_hf[demo]'", purpose="the page to try")
    from thex_hf.cli.options import model_folder
    from thex_hf.demo.page import make_page
    from thex_hf.modeling.opening import open_model

    folders = {open_model(name).config.form: model_folder(name) for name in model or []}
    typer.echo("loading models")
    page = make_page(folders or None)
    typer.echo(f"a page to try at http://{host}:{port}; stop with Ctrl-C")
    page.launch(server_name=host, server_port=port, quiet=True)
