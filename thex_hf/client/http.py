"""Servers over HTTP: ``thex-hf serve`` and Inference Endpoints; key files go in pieces."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from abc import ABC, abstractmethod
from typing import Any

from thex_hf._progress import progress
from thex_hf.client.connection import HttpConnection, told
from thex_hf.client.transport import Transport
from thex_hf.errors import (
    ChildError,
    ConnectionLost,
    KeyMismatch,
    KeyStoreError,
    ThexError,
    WireError,
)
from thex_hf.protocol.messages import MAX_BYTES

ENDPOINT = "endpoint+"
"""Before the address of an Inference Endpoint."""
PIECE = 2 << 20


LOST = (ConnectionLost, ChildError, KeyStoreError, KeyMismatch)
"""What a key file is begun again for: the server was away, or lost what it had of the file."""


class ResumableUpload(ABC):
    """Sends what the other side has not got, and goes on after a break."""

    patience: float
    piece: int

    @abstractmethod
    def _begin(self, name: str, size: int) -> dict[str, Any]:
        """Announce a file; how much of it is there."""

    @abstractmethod
    def _write(self, name: str, offset: int, data: bytes) -> dict[str, Any]:
        """Send a piece; how much is there now."""

    def send_keys(self, data: bytes) -> str:
        """Send what is missing of a key file; its name. See :class:`Transport`."""
        name, size = hashlib.sha256(data).hexdigest(), len(data)
        end = time.monotonic() + self.patience
        with progress(size, "sending keys") as bar:
            while True:
                try:
                    state = self._begin(name, size)
                    while not state.get("complete"):
                        start = _count(state, size)
                        bar.update(start - bar.n)
                        state = self._write(name, start, data[start : start + self.piece])
                except LOST:
                    if time.monotonic() > end:
                        raise
                    time.sleep(1.0)
                else:
                    return name


def _count(state: dict[str, Any], size: int) -> int:
    start = state.get("received")
    if type(start) is not int or not 0 <= start < size:
        raise WireError(f"the server says that {repr(start)[:40]} of {size} bytes are there")
    return start


class _OverHttp(ResumableUpload):
    """What both have.

    Args:
        url: ``http://host:port`` or ``https://...``.
        token: of the owner of the keys.
        piece: bytes of a key file that are sent at once.
        patience: seconds to try again for while the server is busy, or while keys are sent.
        **options: of :class:`thex_hf.client.connection.HttpConnection`.

    Raises:
        OptionError, BackendUnavailable: as the link.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        piece: int = PIECE,
        patience: float = 300.0,
        **options: Any,
    ) -> None:
        self.link = HttpConnection(url, token, patience=patience, **options)
        self.piece, self.patience = piece, patience


class HttpTransport(_OverHttp):
    """Carries bytes to ``thex-hf serve``; see :class:`thex_hf.client.transport.Transport`.

    Takes ``url`` and ``token`` of the owner of the keys; ``piece``, bytes of a key file that are
    sent at once; ``patience``, seconds to try again for while the server is busy, or while keys are
    sent; and the options of :class:`thex_hf.client.connection.HttpConnection`. Raises as that.
    """

    def info(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self.link.json("GET", "/info")

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """Send a message; the one that answers it."""
        headers = {"Thex-Keys": keys, "Thex-Run": run}
        return self.link.send("POST", "/predict", MAX_BYTES, content=data, headers=headers)

    def give_up(self, keys: str, run: str) -> None:
        """Give a run up."""
        try:
            self.link.send("DELETE", "/predict", headers={"Thex-Keys": keys, "Thex-Run": run})
        except ThexError:
            return  # it expires by itself

    def delete_keys(self, name: str) -> None:
        """Have the server forget a key file."""
        self.link.send("DELETE", f"/keys/{name}")

    def _begin(self, name: str, size: int) -> dict[str, Any]:
        return self.link.json("POST", "/keys", json={"name": name, "size": size})

    def _write(self, name: str, offset: int, data: bytes) -> dict[str, Any]:
        return self.link.json("PUT", f"/keys/{name}", params={"offset": offset}, content=data)


class EndpointTransport(_OverHttp):
    """Carries bytes to an Inference Endpoint, in base64; else as :class:`HttpTransport`."""

    def info(self) -> dict[str, Any]:
        """What the endpoint says of itself."""
        return self._do("info")

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """Send a message; the one that answers it."""
        answer = self._do("answer", keys=keys, run=run, data=base64.b64encode(data).decode())
        try:
            return base64.b64decode(answer["data"], validate=True)
        except (KeyError, TypeError, binascii.Error, ValueError) as error:
            raise ConnectionLost("the endpoint's answer holds no message; is it ours?") from error

    def give_up(self, keys: str, run: str) -> None:
        """Give a run up."""
        try:
            self._do("give_up", keys=keys, run=run)
        except ThexError:
            return

    def delete_keys(self, name: str) -> None:
        """Have the endpoint forget a key file."""
        self._do("delete", name=name)

    def _begin(self, name: str, size: int) -> dict[str, Any]:
        return self._do("begin", name=name, size=size)

    def _write(self, name: str, offset: int, data: bytes) -> dict[str, Any]:
        piece = base64.b64encode(data).decode()
        return self._do("write", name=name, offset=offset, data=piece)

    def _do(self, op: str, **rest: Any) -> dict[str, Any]:
        answer = self.link.json("POST", "", MAX_BYTES, json={"inputs": {"op": op, **rest}})
        error = told(answer)
        if error is not None:
            raise error
        return answer


def open_transport(url: str, token: str | None = None, **options: Any) -> Transport:
    """What carries bytes to an address.

    Args:
        url: of a ``thex-hf serve``; of an Inference Endpoint with ``endpoint+`` before it.
        token: of the owner of the keys; of the platform.
        **options: of :class:`thex_hf.client.connection.HttpConnection`.

    Raises:
        OptionError, BackendUnavailable: as the link.
    """
    if url.startswith(ENDPOINT):
        return EndpointTransport(url.removeprefix(ENDPOINT), token, **options)
    return HttpTransport(url, token, **options)
