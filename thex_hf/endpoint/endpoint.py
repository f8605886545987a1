"""The service inside a Hugging Face Inference Endpoint, and the handler that starts it there.

The platform carries JSON and knows who may call. Its callers share one owner: a key file is found
by the SHA-256 of its bytes, which nobody can guess. Bytes are in base64.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import threading
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from thex_hf._paths import user_path
from thex_hf.circuits.protocols import LEARNS
from thex_hf.errors import ConversionError, ThexError, WireError
from thex_hf.serving.fairness import ANYONE
from thex_hf.serving.fork_server_client import Cradle
from thex_hf.serving.keys.repository import Entry
from thex_hf.serving.keys.uploads import Uploads
from thex_hf.serving.spec import Spec
from thex_hf.serving.worker_handles import ForkedHands
from thex_hf.serving.worker_pool import Crew

PIECE_BYTES = 4 << 20


class Endpoint:
    """Answers ``{"inputs": {"op": ..., ...}}``; see ``docs/serving.md`` for the orders.

    Args:
        spec: what is served.
        workers: processes that compute.

    Raises:
        ThexError: the model cannot be served.
    """

    def __init__(self, spec: Spec, workers: int = 1) -> None:
        shelf = spec.open_shelf()
        self._cradle = Cradle(spec)
        self._served = self._cradle.start()
        self._crew = Crew(ForkedHands(self._cradle), workers, run_seconds=spec.run_seconds)
        self._uploads = Uploads(shelf, self._crew)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._wait(self._crew.start())

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one order; an error of ours is an answer with ``error`` and ``message``."""
        try:
            order = data.get("inputs") if isinstance(data, Mapping) else None
            if not isinstance(order, Mapping):
                raise WireError('expected {"inputs": {"op": ...}}')
            return dict(self._wait(self._do(order)))
        except ThexError as error:
            return {"error": type(error).__name__, "message": str(error)}

    def close(self) -> None:
        """End the workers."""
        self._wait(self._crew.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._cradle.stop()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _do(self, order: Mapping[str, Any]) -> dict[str, Any]:
        op = order.get("op")
        if op == "info":
            learns = LEARNS[self._served.info["protocol"]]
            return {**self._served.info, "learns": learns, "piece_bytes": PIECE_BYTES}
        if op == "begin":
            name, size = _text(order, "name"), order.get("size")
            return _progress(await self._uploads.begin(name, ANYONE, size))  # type: ignore[arg-type]
        if op == "write":
            name, offset = _text(order, "name"), order.get("offset")
            if type(offset) is not int or offset < 0:
                raise WireError("'offset' should be a count")
            await self._uploads.require(name, ANYONE)
            data = _bytes(order, PIECE_BYTES)
            return _progress(await self._uploads.write(name, ANYONE, offset, data))
        if op == "delete":
            await self._uploads.forget(_text(order, "name"), ANYONE)
            return {}
        if op not in ("answer", "give_up"):
            raise WireError("'op' should be info, begin, write, delete, answer or give_up")
        names = {"owner": ANYONE, "keys": _text(order, "keys"), "run": _text(order, "run")}
        if op == "answer":
            data = _bytes(order, self._served.most_bytes)
            out = await self._crew.ask({"op": "answer", "data": data, **names})
            return {"data": base64.b64encode(out["data"]).decode()}
        await self._crew.give_up({"op": "give_up", **names})
        return {}


def _progress(entry: Entry) -> dict[str, Any]:
    facts = asdict(entry)
    return {name: facts[name] for name in ("name", "size", "received")} | {
        "complete": entry.complete
    }


def _text(order: Mapping[str, Any], name: str) -> str:
    value = order.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 64:
        raise WireError(f"{name!r} should be a text of 64 characters at most")
    return value


def _bytes(order: Mapping[str, Any], most: int) -> bytes:
    value = order.get("data")
    if not isinstance(value, str) or len(value) > most * 4 // 3 + 4:
        raise WireError(f"'data' should be base64 of {most} bytes at most")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"'data' should be base64: {error}") from error


HANDLER, REQUIREMENTS = "handler.py", "requirements.txt"
TEMPLATE = "handler.py.txt"


def save_handler(folder: str | Path, version: str, *, overwrite: bool = False) -> list[Path]:
    """Write ``handler.py`` and ``requirements.txt`` for an Inference Endpoint.

    Args:
        folder: of a converted model.
        version: of this package, which the endpoint will install.
        overwrite: replace files of these names.

    Returns:
        The files.

    Raises:
        ConversionError: no model there, or a file is in the way.
    """
    place = user_path("folder", folder)
    if not (place / "config.json").is_file():
        raise ConversionError(f"{str(place)!r} should be a model's folder, but has no config.json")
    contents = {
        HANDLER: files("thex_hf.endpoint").joinpath(TEMPLATE).read_text(encoding="utf-8"),
        REQUIREMENTS: f"thex_hf>={version}\n",
    }
    for name, text in contents.items():
        path = place / name
        if path.exists() and path.read_text(encoding="utf-8") != text and not overwrite:
            raise ConversionError(f"{path} is there already; look at it, then say --overwrite")
    for name, text in contents.items():
        (place / name).write_text(text, encoding="utf-8")
    return [place / name for name in contents]
