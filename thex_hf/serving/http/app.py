"""The service as one ASGI application, errors as answers included.

An error's answer has a status, and a JSON body that says which error it was and what to do.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thex_hf import errors
from thex_hf.circuits.protocols import learns_of
from thex_hf.errors import KeyStoreError, ThexError
from thex_hf.serving.http import routes
from thex_hf.serving.http.connection_limits import ConnectionLimits
from thex_hf.serving.http.routes import BodyLimits
from thex_hf.serving.http.settings import BearerTokens, Settings
from thex_hf.serving.http.telemetry import Metrics, MetricsMiddleware
from thex_hf.serving.keys.repository import KeyRepository
from thex_hf.serving.keys.uploads import Uploads
from thex_hf.serving.server import Served
from thex_hf.serving.tickets import TableLedger
from thex_hf.serving.worker_handles import WorkerFactory
from thex_hf.serving.worker_pool import WorkerPool

logger = logging.getLogger("thex_hf.serving.http")


def make_app(
    served: Served,
    factory: WorkerFactory,
    repository: KeyRepository,
    *,
    tickets: TableLedger | None = None,
    workers: int = 1,
    tokens: BearerTokens | None = None,
    settings: Settings | None = None,
    seconds: float = 300.0,
    run_seconds: float = 600.0,
    version: str = "0",
) -> FastAPI:
    """Build the application; it starts its workers when the server starts.

    Args:
        served: what the model says of itself.
        factory: where workers come from.
        repository: of clients' keys.
        tickets: of the clients, where the protocol has any.
        workers: how many.
        tokens: owners; without, everybody is the same owner.
        settings: bounds.
        seconds: that one step of a text may take.
        run_seconds: that a client may take for a reply.
        version: of this package.
    """
    bounds = settings or Settings()
    pool = WorkerPool(factory, workers, seconds=seconds, run_seconds=run_seconds, log=_log_worker)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await pool.start()
        sweeping = asyncio.create_task(_sweep(state.uploads, bounds.sweep_seconds))
        try:
            yield
        finally:
            sweeping.cancel()
            await pool.stop()

    app = FastAPI(
        title="thex_hf",
        summary="Classifies encrypted text.",
        version=version,
        lifespan=lifespan,
        responses=REFUSALS,
        redirect_slashes=False,
    )
    state = app.state
    state.pool, state.uploads, state.settings = pool, Uploads(repository, pool, tickets), bounds
    state.tokens, state.bodies, state.metrics = (
        tokens or BearerTokens(),
        BodyLimits(bounds),
        Metrics(tickets=tickets is not None),
    )
    state.connections, state.most_bytes = ConnectionLimits(bounds), served.most_bytes
    state.info = json.dumps(_info(served, bounds, bool(state.tokens.owners), run_seconds, version))
    app.add_middleware(HttpConformance)
    app.add_middleware(MetricsMiddleware, metrics=state.metrics)
    app.add_exception_handler(ThexError, on_thex_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, on_unexpected)
    app.include_router(routes.keys)
    app.include_router(routes.predictions)
    app.get("/health", tags=["service"])(health)
    app.get("/info", tags=["service"], response_model=dict[str, Any])(info)
    app.get("/metrics", tags=["service"], response_class=Response)(metrics)
    return app


async def health() -> dict[str, str]:
    """Whether the service is up."""
    return {"status": "ok"}


async def info(request: Request) -> Response:
    """Plans, parameters, protocol, and what each side learns."""
    return Response(request.app.state.info, media_type="application/json")


async def metrics(request: Request) -> Response:
    """Counts for Prometheus."""
    state = request.app.state
    shown: Metrics = state.metrics
    shown.replaced.set(state.pool.replaced)
    shown.runs.set(state.pool.runs)
    shown.waiting.set(state.pool.waiting)
    shown.connections.set(state.connections.open)
    shown.shed.set(state.connections.shed)
    with suppress(KeyStoreError):
        shown.keys.set(await state.uploads.total_bytes())
        counts = await state.uploads.ticket_counts()
        for name, gauge in shown.tickets.items():
            gauge.set(getattr(counts, name))
    return Response(generate_latest(shown.registry), media_type=CONTENT_TYPE_LATEST)


async def _sweep(uploads: Uploads, seconds: float) -> None:
    """Drop old keys now and then."""
    while True:
        with suppress(KeyStoreError):
            dropped = await uploads.sweep()
            if dropped:
                logger.info({"event": "sweep", "dropped": dropped})
        await asyncio.sleep(seconds)


async def _on_disconnect(_: Request, __: Exception) -> Response:
    """Nobody reads this."""
    return Response(status_code=499)


def _info(
    served: Served, bounds: Settings, tokens: bool, run_seconds: float, version: str
) -> dict[str, Any]:
    return {
        **served.info,
        "learns": learns_of(served.info["protocol"], served.info.get("form", "")),
        "version": version,
        "tokens": tokens,
        "piece_bytes": bounds.piece_bytes,
        "message_bytes": served.most_bytes,
        "run_seconds": run_seconds,
    }


def _log_worker(line: str) -> None:
    logger.warning({"event": "worker", "message": line})


CLOSE = (b"connection", b"close")


class HttpConformance:
    """ASGI middleware: ``HEAD`` where there is ``GET``, and a clear end.

    An answer to a request that was not read to its end closes the connection.

    Args:
        app: what answers; it sees ``HEAD`` as ``GET``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        unread = _has_body(scope)

        async def received() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and unread:
                message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
            elif message["type"] == "http.response.body" and head:
                message = {**message, "body": b""}
            await send(message)

        inner = {**scope, "method": "GET"} if head else scope
        try:
            await self._app(inner, received, sent)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]  # for whoever counts


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


STATUS: dict[type[ThexError], int] = {
    errors.AccessError: 401,
    errors.SlowError: 408,
    errors.KeyMismatch: 409,
    errors.PlanMismatch: 409,
    errors.ExpiredError: 410,
    errors.TooLargeError: 413,
    errors.QuotaError: 413,
    errors.BusyError: 429,
    errors.KeyStoreError: 503,
    errors.ChildError: 503,
    errors.BackendUnavailable: 503,
}
"""Every other error of ours is a 400: it came from what the client sent."""
RETRY = {429, 503}
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


class Refusal(BaseModel):
    """Body of every answer that is no success."""

    error: str
    message: str


def refusal(status: int, error: str, message: str, headers: dict[str, str]) -> JSONResponse:
    """An answer that says no."""
    return JSONResponse({"error": error, "message": message}, status, headers=headers)


async def on_thex_error(request: Request, error: Exception) -> JSONResponse:
    """Answer for an error of ours."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 400)
    headers = {}
    if status in RETRY:
        headers["Retry-After"] = str(request.app.state.pool.wait_seconds())
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return refusal(status, type(error).__name__, str(error), headers)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer for a path or method that is not there."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    return refusal(error.status_code, "HTTPError", str(error.detail), headers)


async def on_unexpected(_: Request, __: Exception) -> JSONResponse:
    """Answer for an error that is not ours; the log says more."""
    return refusal(500, "InternalError", "the service made a mistake; its log says which", {})


async def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """Answer for parameters that are missing or malformed; repeats nothing that was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"{_place(one)}: {one['msg']}" for one in error.errors())
    return refusal(400, "WireError", f"the request is malformed: {wrong}"[:500], {})


def _allowed(request: Request) -> list[str]:
    """The methods of a path, of all its routes."""
    methods = [
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    ]
    return sorted({*methods, *(["HEAD"] if "GET" in methods else [])})


def _place(one: dict[str, Any]) -> str:
    return " ".join(str(part) for part in one["loc"])


REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Refusal} for code in (400, 401, 408, 409, 410, 413, 429, 503)
}
"""For the schema: what every route may answer."""
