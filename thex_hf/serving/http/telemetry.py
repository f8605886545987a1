"""Counts and logs every request, never a payload; the log as one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("thex_hf.serving.http")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20, 60, 300)

TICKETS = {
    "batches": ("ticket_batches", "Batches of tickets that are kept."),
    "left": ("tickets_left", "Tickets of them that are not spent."),
    "spent": ("tickets_spent", "Tickets of them that are."),
    "jobs": ("preparation_jobs", "Jobs of their preparation that were begun."),
}
"""By the names of :class:`thex_hf.protocol.prepared_server.TicketCounts`."""


class Metrics:
    """What ``/metrics`` shows, in a registry of its own.

    Args:
        tickets: whether there are any.
    """

    def __init__(self, *, tickets: bool = False) -> None:
        self.registry = CollectorRegistry()
        here: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "thex_requests", "Requests by route and status.", ["route", "status"], **here
        )
        self.seconds = Histogram(
            "thex_request_seconds", "Seconds of a request.", ["route"], buckets=BUCKETS, **here
        )
        self.bytes = Counter("thex_bytes", "Bytes of bodies.", ["direction"], **here)
        self.replaced = Gauge("thex_workers_replaced", "Workers that died.", **here)
        self.runs = Gauge("thex_runs", "Texts in progress.", **here)
        self.waiting = Gauge("thex_orders", "Orders that are done or wait.", **here)
        self.keys = Gauge("thex_key_bytes", "Bytes of clients' keys that are kept.", **here)
        self.connections = Gauge("thex_connections", "Open connections.", **here)
        self.shed = Gauge("thex_connections_shed", "Idle ones that made room for others.", **here)
        self.tickets = {
            name: Gauge(f"thex_{TICKETS[name][0]}", TICKETS[name][1], **here)
            for name in (TICKETS if tickets else ())
        }


class MetricsMiddleware:
    """ASGI middleware around the whole service.

    Args:
        app: what is measured.
        metrics: where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, seen = time.perf_counter(), {"status": 499, "up": 0, "down": 0}

        async def received() -> Message:
            message = await receive()
            seen["up"] += len(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
            seen["down"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            self._note(scope, seen, time.perf_counter() - begin)

    def _note(self, scope: Scope, seen: dict[str, int], seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, str(seen["status"])).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        self._metrics.bytes.labels("up").inc(seen["up"])
        self._metrics.bytes.labels("down").inc(seen["down"])
        method = scope["method"] if scope["method"] in METHODS else "other"
        line: dict[str, Any] = {"event": "request", "method": method, "route": route, **seen}
        line |= {"seconds": round(seconds, 4), "owner": scope.get("state", {}).get("owner")}
        logger.info(line)


class JsonLines(logging.Formatter):
    """A record as a JSON object on one line, in ASCII; its fields where the message is a map."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        fields: dict[str, Any] = {"time": self.formatTime(record), "level": record.levelname}
        if isinstance(record.msg, dict):
            fields |= record.msg
        else:
            fields |= {"event": "log", "from": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=repr)


def log_to(stream: Any = None) -> None:
    """Write all logs of this process to a stream, standard error if None.

    The service's own from ``INFO``, everybody else's from ``WARNING``; uvicorn's from ``ERROR``,
    since :mod:`thex_hf.serving.http.connection` says what it would warn of.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    levels = {"thex_hf.serving.http": logging.INFO, "uvicorn.error": logging.ERROR}
    for name, level in levels.items():
        named = logging.getLogger(name)
        named.handlers.clear()
        named.propagate = True
        named.setLevel(level)
