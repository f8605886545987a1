"""Requests over HTTP: patience with a busy server, and errors that are ours."""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from thex_hf import errors
from thex_hf._extras import require
from thex_hf._paths import user_path
from thex_hf._shown import printable
from thex_hf.errors import BusyError, ConnectionLost, OptionError, ThexError, WireError

_TOKEN = re.compile(r"[!-~]([ -~]*[!-~])?")  # what may stand in a header
_EVERY = ("all://", "http://", "https://")
SMALL = 16 << 20
"""Bytes that an answer which is no message may have."""


@dataclass(eq=False)
class HttpConnection:
    """Connections to one server. Any thread may use it.

    Args:
        url: ``http://host:port`` or ``https://...``.
        token: sent over ``https``, or to this machine, only. Requests to this machine go through no
            proxy; those over ``https`` go through a proxy's tunnel if the environment names one.
        verify: a file of certificates to trust instead of the usual ones, or False for none.
        seconds: to wait for an answer.
        patience: seconds to try again for while the server is busy.

    Raises:
        OptionError: no such address, or a token that would be sent in clear.
        BackendUnavailable: httpx is not installed.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    verify: str | bool = True
    seconds: float = 600.0
    patience: float = 300.0

    def __post_init__(self) -> None:
        """Check the address; nothing is sent yet."""
        self._httpx: Any = require(
            "httpx", install="'thex_hf[client]'", purpose="a server elsewhere"
        )
        scheme, host = _address(self.url)
        near = _is_near(host)
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise OptionError(
                "the token should be visible ASCII characters, with no blank at its ends"
            )
        if self.token and scheme == "http" and not near:
            raise OptionError("a token must not be sent in clear: use an https address")
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        verify = self._certificates(scheme)
        try:
            self._http = self._httpx.Client(
                base_url=self.url.rstrip("/"),
                headers=headers,
                timeout=self._httpx.Timeout(self.seconds, connect=30.0),
                verify=verify,
                mounts=dict.fromkeys(_EVERY) if near else None,  # no proxy, even if there is one
                trust_env=not near,
            )
        except (ImportError, ValueError) as error:
            raise OptionError(f"the proxy in the environment cannot be used: {error}") from error

    def _certificates(self, scheme: str) -> Any:
        """What httpx takes as ``verify``."""
        if self.verify is True:
            return self._httpx.create_ssl_context()  # by the environment, if that names any
        if scheme == "http":
            raise OptionError("verify is for an https address; this one is http, leave it out")
        if self.verify is False:
            return False
        try:
            return ssl.create_default_context(cafile=user_path("verify", self.verify))
        except OSError as error:
            raise OptionError(f"verify should be a file of certificates: {error}") from error

    def send(self, method: str, path: str, most: int = SMALL, **options: Any) -> bytes:
        """One request, again while the server is busy; the body of its answer.

        Args:
            method: of HTTP.
            path: below the address.
            most: bytes that the answer may have.
            **options: of httpx.

        Raises:
            ThexError: as the server says.
            ConnectionLost: it cannot be reached, or does not speak as one of ours.
            WireError: it sent too much.
        """
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

    def json(self, method: str, path: str, most: int = SMALL, **options: Any) -> dict[str, Any]:
        """As :meth:`send`, of an answer that is a JSON object."""
        body = self.send(method, path, most, **options)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ConnectionLost(f"{self.url} does not answer as a thex_hf server; is it one?")
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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
            why = printable(str(error)[:500]) or type(error).__name__
            raise ConnectionLost(f"{self.url} cannot be reached: {why}; is it running?") from error

    def _error(self, status: int, body: bytes) -> ThexError:
        """The error that the server tells of, as one of ours."""
        try:
            error = told(json.loads(body))
        except (ValueError, RecursionError):
            error = None
        return error or ConnectionLost(
            f"{self.url} answered with status {status}, not as a thex_hf server does"
        )


def _address(url: str) -> tuple[str, str]:
    """Scheme and host of an address; it is not repeated where it holds a password.

    Raises:
        OptionError: it is none.
    """
    try:
        parts = urlsplit(url)
        scheme, host, secret = parts.scheme, parts.hostname, parts.username or parts.password
        _ = parts.port
    except ValueError as error:
        raise OptionError(f"url should be like http://host:8000: {error}") from None
    if secret is not None:
        raise OptionError("url must not hold a name or password; give the token instead")
    if scheme not in ("http", "https") or not host:
        raise OptionError(f"url should be like http://host:8000, got {url!r}")
    return scheme, host


def _is_near(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def told(answer: Any) -> ThexError | None:
    """The error in an answer, as one of ours; None if there is none.

    What the server says is escaped, so that no terminal or log obeys it.
    """
    if not isinstance(answer, dict) or "error" not in answer:
        return None
    name, text = str(answer["error"]), printable(str(answer.get("message", ""))[:2000])
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, ThexError):
        return kind(text)
    return ConnectionLost(f"the server says: {printable(name[:100])}: {text[:500]}")
