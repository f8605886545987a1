"""A ``thex-hf serve`` in processes of its own, for the benchmarks and trials of the service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import proportional_bytes, tree

import thex_hf
from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.client.http import HttpTransport

MODELS = {
    "client-aided": "the-x",
    "refresh": "polynomial",
    "one-shot": "polynomial",
    "prepared": "polynomial",
}


@dataclass
class Service:
    """A running service.

    Args:
        url: its address.
        process: the one that listens; the others are its children.
    """

    url: str
    process: subprocess.Popen[str]

    def pids(self) -> list[int]:
        """All its processes."""
        return tree(self.process.pid)

    def memory(self) -> float:
        """Resident megabytes of all processes, shared pages counted once."""
        return sum(map(proportional_bytes, self.pids())) / 1e6


@contextmanager
def serving(
    *options: object, protocol: str = "client-aided", prefix: tuple[str, ...] = ()
) -> Iterator[Service]:
    """Start the command and wait until it serves; its log goes to ``SERVE_LOG`` or nowhere.

    Args:
        *options: of ``thex-hf serve``.
        protocol: to serve; the bundled model of its form.
        prefix: goes before the command, to run it elsewhere.
    """
    command = [*prefix, sys.executable, "-m", "thex_hf.cli.main", "serve", "--json"]
    command += ["--protocol", protocol, *map(str, options)]
    with open(os.environ.get("SERVE_LOG", os.devnull), "a") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the service did not start: {' '.join(command)}")
        yield Service(json.loads(line)["url"], process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def client(
    url: str,
    protocol: str = "client-aided",
    keys: Path | None = None,
    model: str | None = None,
    **options: Any,
) -> ThexClient:
    """A client of a model, the bundled one if None, without torch; ``keys`` is its folder."""
    half = ClientHalf.open(model or thex_hf.bundled_checkpoint(MODELS[protocol]))
    return ThexClient(half, HttpTransport(url, **options), keys)
