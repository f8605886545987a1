"""Run the service: a model, a shelf, workers, and uvicorn before them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from thex_hf._paths import user_path
from thex_hf.errors import OptionError, SecurityError
from thex_hf.service.cradle import Cradle
from thex_hf.service.hands import ForkedHands
from thex_hf.service.spec import Spec
from thex_hf.web.app import make_app
from thex_hf.web.settings import Settings
from thex_hf.web.tokens import Tokens

NEAR = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Listening:
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
        if self.host not in NEAR and self.tokens is None and not self.everybody:
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
    listening: Listening,
    *,
    workers: int,
    seconds: float,
    version: str,
    settings: Settings | None = None,
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
        ready: called with the address when the service is up.

    Raises:
        ThexError: the model cannot be served, the shelf not opened, a token file not read.
    """
    bounds = settings or Settings()
    tokens = Tokens() if listening.tokens is None else Tokens.read(listening.tokens)
    shelf = spec.open_shelf()
    cradle = Cradle(spec)
    try:
        app = make_app(
            cradle.start(),
            ForkedHands(cradle),
            shelf,
            workers=workers,
            tokens=tokens,
            settings=bounds,
            seconds=seconds,
            run_seconds=spec.run_seconds,
            version=version,
        )
        _log()
        with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped
            _Server(_config(app, listening, bounds), ready).run()
    finally:
        cradle.stop()


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], object]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Listen, then say so."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            self._ready(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")


def _config(app: FastAPI, listening: Listening, bounds: Settings) -> uvicorn.Config:
    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    return uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=bounds.connections,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=30,
        ssl_certfile=text(listening.certificate),
        ssl_keyfile=text(listening.private_key),
    )


def _log() -> None:
    """One JSON object a line on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('{"time": "%(asctime)s", "log": %(message)s}'))
    own = logging.getLogger("thex_hf.web")
    own.handlers[:] = [handler]
    own.propagate = False
    own.setLevel(logging.INFO)
