"""Seconds of a text by round-trip time and bandwidth.

``python benchmarks/round_trips.py [--protocols prepared refresh] [--texts 5]``. The bundled models,
or with ``--model FOLDER --name NAME`` another one, are served by ``thex-hf serve``; between client
and server stands a relay that holds every byte back by half the round trip and lets through so many
bits a second, each way. Connections, keys and tickets are made before. Writes
results/round_trips[-NAME].json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from common import surroundings, write
from load import texts
from service import MODELS, client, serving

DELAYS = (1, 10, 50)
RATES = (1000, 100, 20)
CHUNK = 1 << 14


@dataclass
class Line:
    """What the relay does from now on; None: nothing."""

    milliseconds: float | None = None
    megabits: float = 1e6


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
    """One direction of one connection."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    task, free = asyncio.create_task(deliver()), 0.0
    while True:
        data = await reader.read(CHUNK)
        free = max(free, loop.time()) + 8 * len(data) / (1e6 * line.megabits)
        waiting.put_nowait((free + (line.milliseconds or 0.0) / 2000, data))
        if not data:
            break
    await task


def relay(url: str, line: Line) -> str:
    """Start a relay before a server, which ends with this process; its address."""
    parts = urlsplit(url)
    ready: list[int] = []
    started = threading.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(_carry(reader, there[1], line), _carry(there[0], writer, line))

    async def serve() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        ready.append(server.sockets[0].getsockname()[1])
        started.set()
        await asyncio.Event().wait()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    started.wait()
    return f"http://127.0.0.1:{ready[0]}"


def one(
    protocol: str,
    wanted: list[str],
    bucket: int,
    model: str | None,
    delays: Sequence[float] = DELAYS,
    rates: Sequence[float] = RATES,
) -> list[dict[str, Any]]:
    """Every network under one protocol."""
    rows, line = [], Line()
    named = [model] if model else []
    with (
        tempfile.TemporaryDirectory() as place,
        serving(
            *named, "--bucket", bucket, "--keys", Path(place) / "keys", protocol=protocol
        ) as service,
    ):
        caller = client(relay(service.url, line), protocol, model=model)
        caller.classify(wanted[0])  # keys, tickets, encoded weights
        for line.milliseconds in delays:
            for line.megabits in rates:
                found = [caller.classify(text).result for text in wanted]
                seconds = [one.client_seconds + one.server_seconds for one in found]
                rows.append(
                    {
                        "protocol": protocol,
                        "milliseconds": line.milliseconds,
                        "megabits": line.megabits,
                        "rounds": found[0].rounds,
                        "bytes": found[0].bytes_up + found[0].bytes_down,
                        "ticket_bytes": (found[0].prepare_bytes_up or 0)
                        + (found[0].prepare_bytes_down or 0),
                        "seconds": median(seconds),
                        "seconds_all": seconds,
                    }
                )
    return rows


def main() -> None:
    """Measure the protocols in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocols", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--texts", type=int, default=5)
    parser.add_argument("--file", type=Path, help="a .tsv.gz with a column 'text'")
    parser.add_argument("--bucket", type=int, default=32)
    parser.add_argument("--model", help="a folder")
    parser.add_argument("--name", help="of that model, for the file")
    chosen = parser.parse_args()
    wanted = (texts(chosen.file) * chosen.texts)[: chosen.texts]
    record: dict[str, Any] = {"surroundings": surroundings(), "rows": []}
    table = [["protocol", "rounds", "MB", *(f"{d} ms, {r} Mbit/s" for d in DELAYS for r in RATES)]]
    for protocol in chosen.protocols:
        rows = one(protocol, wanted, chosen.bucket, chosen.model)
        record["rows"] += rows
        size, rounds = f"{rows[0]['bytes'] / 1e6:.2f}", str(rows[0]["rounds"])
        table.append([protocol, rounds, size, *(f"{row['seconds']:.2f}" for row in rows)])
    write("-".join(filter(None, ("round_trips", chosen.name))), record, table)
    print("\n".join(" | ".join(row) for row in table))


if __name__ == "__main__":
    main()
