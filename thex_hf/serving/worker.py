"""A worker process: all that reads what came from outside, and computes on it, happens here."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thex_hf.errors import TooLargeError
from thex_hf.processes.channel import Channel, to_message
from thex_hf.serving.keys.repository import Shelf
from thex_hf.serving.runs import RunName
from thex_hf.serving.server import ThexServer


@dataclass
class Worker:
    """Does orders one after the other. An order is a map with ``op`` and what that needs.

    ``keys``: read a key file and see that it is good. ``answer``: a message. ``give_up``: a run.
    ``forget``: a key file.

    Args:
        server: the model, its weights encoded.
        shelf: where key files are.
    """

    server: ThexServer
    shelf: Shelf = field(repr=False)

    def do(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one order; what it says, or the error, and the seconds it took."""
        begin = time.perf_counter()
        try:
            out = getattr(self, f"_{order['op']}")(order)
        except MemoryError:
            error = TooLargeError("this takes more memory than a worker of this server may use")
            out = {"error": to_message(error)}
        except Exception as error:
            out = {"error": to_message(error)}
        if "run" in order:
            out["open"] = self._name(order) in self.server.runs
        return {**out, "seconds": time.perf_counter() - begin}

    def _keys(self, order: Mapping[str, Any]) -> dict[str, Any]:
        self._load(order)
        return {}

    def _answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        owner, keys = order["owner"], order["keys"]
        if not self.server.has_keys(keys, owner):
            self._load(order)
        return {"data": self.server.answer(order["data"], keys, owner, order["run"])}

    def _give_up(self, order: Mapping[str, Any]) -> dict[str, Any]:
        return {"found": self.server.runs.drop(self._name(order))}

    def _forget(self, order: Mapping[str, Any]) -> dict[str, Any]:
        return {"found": self.server.drop_keys(order["keys"], order["owner"])}

    def _load(self, order: Mapping[str, Any]) -> None:
        self.server.take_keys(self.shelf.read(order["keys"], order["owner"]), order["owner"])

    def _name(self, order: Mapping[str, Any]) -> RunName:
        return RunName(order["owner"], order["keys"], order["run"])


def serve(worker: Worker, channel: Channel) -> None:
    """Do orders until the other side is gone."""
    gc.enable()
    with contextlib.suppress(EOFError, OSError):
        while True:
            channel.send(worker.do(channel.receive()))
