"""``thex-hf serve``: classify encrypted texts for clients elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thex_hf.cli.output import Json, mebibytes, show_json
from thex_hf.errors import OptionError


def serve(
    model: Annotated[
        str | None, typer.Argument(help="Folder or Hub name of a THE-X model; the bundled one.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    protocol: Annotated[
        str | None,
        typer.Option(help="client-aided, refresh or one-shot; what suits the model if none."),
    ] = None,
    backend: Annotated[str, typer.Option(help="Engine with slots.")] = "seal",
    softmax: Annotated[
        str | None, typer.Option(help="estimate, exact or estimate-on-server; the model's if none.")
    ] = None,
    ring: Annotated[
        int | None, typer.Option(help="Ring degree N for refresh and one-shot.")
    ] = None,
    bucket: Annotated[
        list[int] | None,
        typer.Option(help="Padded length to serve, in tokens; repeat for several; all if none."),
    ] = None,
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
    run_seconds: Annotated[
        float, typer.Option(help="Seconds that a client may take for a reply.")
    ] = 600.0,
    step_seconds: Annotated[
        float, typer.Option(help="Seconds that one step of a text may take.")
    ] = 300.0,
    worker_memory: Annotated[
        float, typer.Option(help="GB that a worker may take beside the shared weights.")
    ] = 4.0,
    as_json: Json = False,
) -> None:
    """Serve MODEL over HTTP. The server never sees a text, nor a key that decrypts."""
    from thex_hf._extras import require

    for library in ("fastapi", "uvicorn", "prometheus_client"):
        require(library, install="'thex_hf[serve]'", purpose="serving")
    from thex_hf import __version__
    from thex_hf.cli.loading import load_model
    from thex_hf.encrypted.circuits import FORMS
    from thex_hf.encrypted.shape import BUCKETS
    from thex_hf.pipelines.engine import check_engine
    from thex_hf.pipelines.options import PROTOCOLS, choose_protocol, one_of
    from thex_hf.processes.pool import check_processes, usable_cores
    from thex_hf.protocol.learns import LEARNS
    from thex_hf.service.portable import weights_to_bytes
    from thex_hf.service.spec import Spec
    from thex_hf.web.serve import Listening
    from thex_hf.web.serve import serve as run

    listening = Listening(host, port, tokens, everybody, certificate, private_key)
    check_processes(workers)
    form = FORMS[one_of("protocol", protocol, PROTOCOLS)] if protocol else "the-x"
    loaded, _ = load_model(model, form)
    config = loaded.config
    protocol = choose_protocol(protocol, config.form)
    if backend in ("clear", "concrete"):
        raise OptionError(f"backend {backend!r} cannot be served; use 'seal'")
    check_engine(backend, protocol, softmax=softmax, relu="client", keys=None, ring=ring)
    spec = Spec(
        weights_to_bytes(loaded.float().encoder_weights()),
        keys or str(_default_place()),
        ranges=config.ranges,
        backend=backend,
        protocol=protocol,
        softmax=softmax or config.softmax,
        ring=ring,
        buckets=tuple(sorted(set(bucket or BUCKETS))),
        run_seconds=run_seconds,
        memory=int(worker_memory * 1e9),
    )
    count = workers or usable_cores()

    def ready(url: str) -> None:
        if as_json:
            show_json({"url": url, "protocol": protocol, "workers": count})
            return
        typer.echo(f"{LEARNS[protocol]}")
        typer.echo(f"serving at {url} with {count} workers; stop with Ctrl-C")

    if not as_json:
        typer.echo(f"encoding weights of {mebibytes(len(spec.weights))} for {spec.buckets} tokens")
    run(spec, listening, workers=count, seconds=step_seconds, version=__version__, ready=ready)


def _default_place() -> Path:
    """Where clients' keys go if nobody says."""
    from thex_hf.concrete.environment import home

    return home() / "served-keys"
