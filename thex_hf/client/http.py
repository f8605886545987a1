"""A server over HTTP."""

from __future__ import annotations

import hashlib
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from thex_hf import errors
from thex_hf._extras import require
from thex_hf.errors import BusyError, ConnectionLost, OptionError, ThexError, WireError
from thex_hf.protocol.messages import MAX_BYTES
from thex_hf.protocol.progress import progress

NEAR = ("localhost", "127.0.0.1", "::1")
SMALL = 16 << 20
"""Bytes that an answer which is no message may have."""


@dataclass(eq=False)
class HttpTransport:
    """Carries bytes to ``thex-hf serve``; see :class:`thex_hf.client.transport.Transport`.

    Args:
        url: ``http://host:port`` or ``https://...``.
        token: of the owner of the keys; sent over ``https``, or to this machine, only.
        verify: a file of certificates to trust instead of the usual ones, or False for none.
        seconds: to wait for an answer; the server computes meanwhile.
        patience: seconds to try again for while the server is busy, or while keys are sent.
        piece: bytes of a key file that are sent at once.

    Raises:
        OptionError: no such address, or a token that would be sent in clear.
        BackendUnavailable: httpx is not installed.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    verify: str | bool = True
    seconds: float = 600.0
    patience: float = 300.0
    piece: int = 4 << 20

    def __post_init__(self) -> None:
        """Check the address; nothing is sent yet."""
        self._httpx: Any = require(
            "httpx", install="'thex_hf[client]'", purpose="a server elsewhere"
        )
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError(f"url should be like http://host:8000, got {self.url!r}")
        if self.token and parts.scheme == "http" and parts.hostname not in NEAR:
            raise OptionError("a token must not be sent in clear: use an https address")
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        limit = self._httpx.Timeout(self.seconds, connect=30.0)
        verify = self.verify
        if isinstance(verify, str):
            verify = ssl.create_default_context(cafile=verify)  # type: ignore[assignment]
        self._http = self._httpx.Client(
            base_url=self.url.rstrip("/"), headers=headers, timeout=limit, verify=verify
        )

    def info(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self._json("GET", "/info")

    def send_keys(self, data: bytes) -> str:
        """Send what is missing of a key file, in pieces; goes on after a break."""
        name, size = hashlib.sha256(data).hexdigest(), len(data)
        end = time.monotonic() + self.patience
        with progress(size, "sending keys") as bar:
            while True:
                try:
                    state = self._json("POST", "/keys", json={"name": name, "size": size})
                    while not state.get("complete"):
                        start = _count(state, size)
                        bar.update(start - bar.n)
                        piece = data[start : start + self.piece]
                        where = {"offset": start}
                        state = self._json("PUT", f"/keys/{name}", params=where, content=piece)
                except (ConnectionLost, errors.ChildError):
                    if time.monotonic() > end:
                        raise
                    time.sleep(1.0)
                else:
                    return name

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """Send a message; the one that answers it."""
        headers = {"Thex-Keys": keys, "Thex-Run": run}
        return self._send("POST", "/predict", MAX_BYTES, content=data, headers=headers)

    def give_up(self, keys: str, run: str) -> None:
        """Give a run up."""
        try:
            self._send("DELETE", "/predict", SMALL, headers={"Thex-Keys": keys, "Thex-Run": run})
        except ThexError:
            return  # it expires by itself

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:

        body = self._send(method, path, SMALL, **options)
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ConnectionLost(f"{self.url} does not answer as a thex_hf server; is it one?")
        return found

    def _send(self, method: str, path: str, most: int, **options: Any) -> bytes:
        """One request, again while the server is busy."""
        end = time.monotonic() + self.patience
        while True:
            status, headers, body = self._once(method, path, most, options)
            if status < 300:
                return body
            error = self._error(status, body)
            wait = headers.get("retry-after", "")
            seconds = min(float(wait), 60.0) if wait.isdecimal() else 1.0
            if not isinstance(error, BusyError) or time.monotonic() + seconds > end:
                raise error
            time.sleep(seconds)

    def _once(
        self, method: str, path: str, most: int, options: dict[str, Any]
    ) -> tuple[int, Any, bytes]:
        try:
            with self._http.stream(method, path, **options) as answer:
                parts, size = [], 0
                for part in answer.iter_bytes():
                    size += len(part)
                    if size > most:
                        raise WireError(f"the server sent more than {most} bytes; is it one?")
                    parts.append(part)
                return answer.status_code, answer.headers, b"".join(parts)
        except self._httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise ConnectionLost(f"{self.url} cannot be reached: {why}; is it running?") from error

    def _error(self, status: int, body: bytes) -> ThexError:
        """The error that the server tells of, as one of ours."""
        try:
            told = json.loads(body)
            name, text = str(told["error"]), str(told["message"])
        except (ValueError, KeyError, TypeError):
            return ConnectionLost(
                f"{self.url} answered with status {status}, not as a thex_hf server does"
            )
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, ThexError):
            return kind(text[:2000])
        return ConnectionLost(f"{self.url} answered with status {status}: {text[:500]}")


def _count(state: dict[str, Any], size: int) -> int:
    start = state.get("received")
    if type(start) is not int or not 0 <= start < size:
        raise WireError(f"the server says that {start!r} of {size} bytes are there")
    return start
