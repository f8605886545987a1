"""Seconds of a text by round-trip time and bandwidth, server and client in two namespaces.

    sudo python benchmarks/round_trips.py --protocols prepared refresh

The bundled models are served over TLS; the client has its half only and runs without torch. Delay
and rate are set on both ends of the cable (``tc netem``), half of the round trip on each. Tickets
are prepared before, on the bare cable. Writes results/round_trips.json and .md.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from common import surroundings, write
from load import texts
from service import MODELS, serving
from two_machines import ADDRESSES, CLIENT, SERVER, cable, certificate, classify

import thex_hf
from thex_hf.client.half import ClientHalf

TOKEN = "a-token-that-is-long-enough"
DELAYS = (1, 10, 50)
RATES = (1000, 100, 20)


def shape(milliseconds: float, megabits: int) -> None:
    """Delay and rate of the cable from now on."""
    for name in ADDRESSES:
        tc = ["tc", "-n", name, "qdisc", "replace", "dev", "v0", "root", "netem"]
        tc += ["delay", f"{milliseconds / 2}ms", "rate", f"{megabits}mbit", "limit", "100000"]
        subprocess.run(tc, check=True)


def one(protocol: str, wanted: list[str], bucket: int) -> list[dict[str, Any]]:
    """Every network under one protocol."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        half = ClientHalf.open(thex_hf.bundled_checkpoint(MODELS[protocol])).save(folder / "half")
        options = certificate(folder)
        options += ["--host", ADDRESSES[SERVER], "--port", 8443, "--bucket", bucket]
        options += ["--keys", folder / "served"]
        prefix = ("ip", "netns", "exec", SERVER)
        with serving(*options, protocol=protocol, prefix=prefix) as service:
            subprocess.run(["tc", "-n", CLIENT, "qdisc", "del", "dev", "v0", "root"], check=False)
            subprocess.run(["tc", "-n", SERVER, "qdisc", "del", "dev", "v0", "root"], check=False)
            classify(service.url, half, folder / "keys", wanted[:1], TOKEN)  # keys and tickets
            for delay in DELAYS:
                for rate in RATES:
                    shape(delay, rate)
                    found = classify(service.url, half, folder / "keys", wanted, TOKEN)
                    seconds = [r["seconds"]["client"] + r["seconds"]["server"] for r in found]
                    rows.append(
                        {
                            "protocol": protocol,
                            "milliseconds": delay,
                            "megabits": rate,
                            "rounds": found[0]["rounds"],
                            "bytes": found[0]["bytes"]["up"] + found[0]["bytes"]["down"],
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
    chosen = parser.parse_args()
    wanted = (texts(chosen.file) * chosen.texts)[: chosen.texts]
    record: dict[str, Any] = {"surroundings": surroundings(), "rows": []}
    with cable():
        for protocol in chosen.protocols:
            record["rows"] += one(protocol, wanted, chosen.bucket)
    table = [["protocol", "rounds", "MB", *(f"{d} ms, {r} Mbit/s" for d in DELAYS for r in RATES)]]
    for protocol in chosen.protocols:
        rows = [row for row in record["rows"] if row["protocol"] == protocol]
        first = rows[0]
        table.append(
            [
                protocol,
                str(first["rounds"]),
                f"{first['bytes'] / 1e6:.2f}",
                *(f"{row['seconds']:.2f}" for row in rows),
            ]
        )
    write("round_trips", record, table)
    print("\n".join(" | ".join(row) for row in table))


if __name__ == "__main__":
    main()
