"""Run the service: a model, a repository of keys, workers, and uvicorn before them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from thex_hf._paths import user_path
from thex_hf.errors import OptionError, SecurityError
from thex_hf.serving.http.app import make_app
from thex_hf.serving.http.connection import Connection
from thex_hf.serving.http.connection_limits import ConnectionLimits, listen
from thex_hf.serving.http.settings import BearerTokens, Settings
from thex_hf.serving.http.telemetry import log_to
from thex_hf.serving.spec import Spec
from thex_hf.serving.worker_handles import ForkedWorkerFactory, ForkServerClient

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ListenOptions:
    """Where and for whom.

    Args:
        host: address to listen at.
        port: 0 takes a free one.
        tokens: file of owners and tokens.
        everybody: serve whoever comes, from another machine too, without tokens.
        certificate: for https.
        private_key: of the certificate.

    Raises:
        SecurityError: another machine could come without a token, and that was not asked for.
        OptionError: half of a certificate.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    tokens: Path | None = None
    everybody: bool = False
    certificate: Path | None = None
    private_key: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what is open by mistake."""
        if self.host not in LOOPBACK and self.tokens is None and not self.everybody:
            raise SecurityError(
                f"{self.host} can be reached from elsewhere: name owners with --tokens FILE, or "
                f"say --everybody to serve whoever comes"
            )
        if (self.certificate is None) != (self.private_key is None):
            raise OptionError("https needs both a certificate and its private key")
        for name in ("certificate", "private_key"):
            given = getattr(self, name)
            if given is None:
                continue
            path = user_path(name, given)
            if not path.is_file():
                raise OptionError(f"there is no file {path}")
            object.__setattr__(self, name, path)


def serve(
    spec: Spec,
    listening: ListenOptions,
    *,
    workers: int,
    seconds: float,
    version: str,
    settings: Settings | None = None,
    forget_tickets: bool = False,
    ready: Callable[[str], object] = lambda line: None,
) -> None:
    """Serve until a signal ends it; texts in progress have half a minute to get on.

    Args:
        spec: the model and how it is served.
        listening: where and for whom.
        workers: processes that compute.
        seconds: that one step of a text may take.
        version: of this package.
        settings: bounds of the service.
        forget_tickets: drop all that are kept first, as after a backup was restored.
        ready: called with the address when the service is up.

    Raises:
        ThexError: the model cannot be served, the repository not opened, a token file not read.
    """
    tokens = BearerTokens() if listening.tokens is None else BearerTokens.read(listening.tokens)
    repository, tickets = spec.open_repository(), spec.open_tickets()
    if forget_tickets and tickets is not None:
        tickets.clear()
    fork_server = ForkServerClient(spec)
    try:
        app = make_app(
            fork_server.start(),
            ForkedWorkerFactory(fork_server),
            repository,
            tickets=tickets,
            workers=workers,
            tokens=tokens,
            settings=settings,
            seconds=seconds,
            run_seconds=spec.run_seconds,
            version=version,
        )
        log_to()
        with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped
            HttpServer(app, listening, ready).run()
    finally:
        fork_server.stop()


class HttpServer(uvicorn.Server):
    """Uvicorn behind listeners of ours; says where it listens once it does.

    Args:
        app: of :func:`thex_hf.serving.http.app.make_app`, which knows the bounds.
        listening: where.
        ready: called with the address when the service is up.

    Raises:
        OptionError: nobody can listen there.
    """

    def __init__(
        self,
        app: FastAPI,
        listening: ListenOptions,
        ready: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._ready = ready
        limits: ConnectionLimits = app.state.connections
        super().__init__(_config(app, listening, limits))
        try:
            self._listeners = listen(listening.host, listening.port, limits)
        except OSError as error:
            place = f"{listening.host}, port {listening.port}"
            raise OptionError(f"cannot listen at {place}: {error.strerror or error}") from error

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets=[*self._listeners])
        if self.started:
            host, port = self._listeners[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            self._ready(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")


def _config(app: FastAPI, listening: ListenOptions, limits: ConnectionLimits) -> uvicorn.Config:
    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    bounds = limits.settings
    return uvicorn.Config(
        app,
        http=partial(Connection, limits),  # type: ignore[arg-type]  # it is called, nothing more
        ws="none",
        loop="asyncio",  # another would not accept through our sockets
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=bounds.keep_seconds,  # type: ignore[arg-type]  # seconds of a timer
        timeout_graceful_shutdown=30,
        h11_max_incomplete_event_size=bounds.head_bytes,
        ssl_certfile=text(listening.certificate),
        ssl_keyfile=text(listening.private_key),
    )
