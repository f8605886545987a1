"""Errors as answers: the status, and a JSON body that says which error it was and what to do."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from thex_hf import errors
from thex_hf.errors import ThexError

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
