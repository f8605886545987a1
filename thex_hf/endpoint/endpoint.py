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
from importlib.resources import files
from pathlib import Path
from typing import Any

from thex_hf._paths import user_path
from thex_hf.circuits.protocols import learns_of
from thex_hf.errors import ConversionError, ThexError, WireError
from thex_hf.serving.fairness import ANYONE
from thex_hf.serving.keys.repository import Entry
from thex_hf.serving.keys.uploads import Uploads
from thex_hf.serving.spec import Spec
from thex_hf.serving.worker import Job
from thex_hf.serving.worker_handles import ForkedWorkerFactory, ForkServerClient
from thex_hf.serving.worker_pool import WorkerPool

PIECE_BYTES = 4 << 20


class Endpoint:
    """Answers ``{"inputs": {"op": ..., ...}}``; see ``docs/serving.md`` for each ``op``.

    Args:
        spec: what is served.
        workers: processes that compute.

    Raises:
        ThexError: the model cannot be served.
    """

    def __init__(self, spec: Spec, workers: int = 1) -> None:
        repository = spec.open_repository()
        self._fork_server = ForkServerClient(spec)
        self._served = self._fork_server.start()
        factory = ForkedWorkerFactory(self._fork_server)
        self._pool = WorkerPool(factory, workers, run_seconds=spec.run_seconds)
        self._uploads = Uploads(repository, self._pool, spec.open_tickets())
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._wait(self._pool.start())

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request; an error of ours is an answer with ``error`` and ``message``."""
        try:
            request = data.get("inputs") if isinstance(data, Mapping) else None
            if not isinstance(request, Mapping):
                raise WireError('expected {"inputs": {"op": ...}}')
            return dict(self._wait(self._answer(request)))
        except ThexError as error:
            return {"error": type(error).__name__, "message": str(error)}

    def close(self) -> None:
        """End the workers."""
        self._wait(self._pool.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._fork_server.stop()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        op = request.get("op")
        if op == "info":
            learns = learns_of(self._served.info["protocol"], self._served.info.get("form", ""))
            return {**self._served.info, "learns": learns, "piece_bytes": PIECE_BYTES}
        if op == "begin":
            name, size = _text(request, "name"), request.get("size")
            return _progress(await self._uploads.begin(name, ANYONE, size))  # type: ignore[arg-type]
        if op == "write":
            name, offset = _text(request, "name"), request.get("offset")
            if type(offset) is not int or offset < 0:
                raise WireError("'offset' should be a count")
            await self._uploads.require(name, ANYONE)
            data = _bytes(request, PIECE_BYTES)
            return _progress(await self._uploads.write(name, ANYONE, offset, data))
        if op == "delete":
            await self._uploads.forget(_text(request, "name"), ANYONE)
            return {}
        if op not in ("answer", "give_up"):
            raise WireError("'op' should be info, begin, write, delete, answer or give_up")
        keys, run = _text(request, "keys"), _text(request, "run")
        if op == "answer":
            data = _bytes(request, self._served.most_bytes)
            result = await self._pool.ask(Job("answer", ANYONE, keys, run, data))
            return {"data": base64.b64encode(result["data"]).decode()}
        await self._pool.give_up(ANYONE, keys, run)
        return {}


def _progress(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in ("name", "size", "received", "complete")}


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 64:
        raise WireError(f"{name!r} should be a text of 64 characters at most")
    return value


def _bytes(request: Mapping[str, Any], most: int) -> bytes:
    value = request.get("data")
    if not isinstance(value, str) or len(value) > most * 4 // 3 + 4:
        raise WireError(f"'data' should be base64 of {most} bytes at most")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"'data' should be base64: {error}") from error


HANDLER, REQUIREMENTS = "handler.py", "requirements.txt"
TEMPLATE = "handler.py.txt"


def save_handler(
    folder: str | Path, version: str, *, requirement: str | None = None, overwrite: bool = False
) -> list[Path]:
    """Write ``handler.py`` and ``requirements.txt`` for an Inference Endpoint.

    Args:
        folder: of a converted model.
        version: of this package, which the endpoint will install.
        requirement: the line of ``requirements.txt`` by which it does, such as
            ``thex_hf @ git+https://...``; by default this version or a later one, from a package
            index that has it.
        overwrite: replace files of these names.

    Returns:
        The files.

    Raises:
        ConversionError: no model there, or a file is in the way.
    """
    model = user_path("folder", folder)
    if not (model / "config.json").is_file():
        raise ConversionError(f"{str(model)!r} should be a model's folder, but has no config.json")
    contents = {
        HANDLER: files("thex_hf.endpoint").joinpath(TEMPLATE).read_text(encoding="utf-8"),
        REQUIREMENTS: f"{requirement or f'thex_hf>={version}'}\n",
    }
    for name, text in contents.items():
        path = model / name
        if path.exists() and path.read_text(encoding="utf-8") != text and not overwrite:
            raise ConversionError(f"{path} is there already; look at it, then say --overwrite")
    for name, text in contents.items():
        (model / name).write_text(text, encoding="utf-8")
    return [model / name for name in contents]
