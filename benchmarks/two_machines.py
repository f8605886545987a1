"""Server and client in two network namespaces, joined by one virtual cable; bytes counted by it.

    sudo python benchmarks/two_machines.py --texts 20

Converts nothing: the bundled models are served, one protocol after the other. The client has its
half of the model only and runs without torch. The cable's own counters, headers of Ethernet, IP and
TCP included, stand beside what the client's report says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import surroundings, write
from load import clear, texts
from service import MODELS, serving

import thex_hf
from thex_hf.client.half import ClientHalf

SERVER, CLIENT = "thex-server", "thex-client"
ADDRESSES = {SERVER: "10.99.7.1", CLIENT: "10.99.7.2"}


def ip(*words: str) -> None:
    """One command of iproute2."""
    subprocess.run(["ip", *words], check=True)


@contextmanager
def cable() -> Iterator[None]:
    """Two namespaces with one interface each."""
    for name in ADDRESSES:
        ip("netns", "add", name)
    try:
        ip("link", "add", "v0", "netns", SERVER, "type", "veth", "peer", "v0", "netns", CLIENT)
        for name, address in ADDRESSES.items():
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "v0")
            ip("-n", name, "link", "set", "v0", "up")
        yield
    finally:
        for name in ADDRESSES:
            ip("netns", "del", name)


def counted() -> tuple[int, int]:
    """Bytes that the client's end has sent and received."""
    out = subprocess.run(
        ["ip", "-n", CLIENT, "-s", "-j", "link", "show", "v0"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = json.loads(out)[0]["stats64"]
    return found["tx"]["bytes"], found["rx"]["bytes"]


def classify(url: str, half: Path, keys: Path, wanted: list[str], token: str) -> list[Any]:
    """The command in the client's namespace; one record a text."""
    command = ["ip", "netns", "exec", CLIENT, sys.executable, "-m", "thex_hf.cli.main"]
    command += ["classify", "--backend", "remote", "--url", url, "--model", str(half), "--json"]
    command += ["--keys", str(keys), "--verify", str(keys.parent / "cert.pem"), *wanted]
    environment = {**os.environ, "THEX_HF_NO_TORCH": "1", "THEX_HF_TOKEN": token}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def certificate(folder: Path) -> list[object]:
    """A certificate for the server's address, and the options that name it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
         "-subj", "/CN=thex", "-addext", f"subjectAltName=IP:{ADDRESSES[SERVER]}"],
        check=True, capture_output=True,
    )  # fmt: skip
    tokens = folder / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text("ann a-token-that-is-long-enough\n")
    return [
        "--certificate", folder / "cert.pem", "--private-key", folder / "key.pem",
        "--tokens", tokens,
    ]  # fmt: skip


def one(protocol: str, wanted: list[str], bucket: int) -> dict[str, Any]:
    """Serve and classify under one protocol."""
    expected = clear(protocol, wanted)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        half = ClientHalf.open(thex_hf.bundled_checkpoint(MODELS[protocol])).save(folder / "half")
        options = certificate(folder)
        options += ["--host", ADDRESSES[SERVER], "--port", 8443, "--bucket", bucket]
        options += ["--keys", folder / "served"]
        prefix = ("ip", "netns", "exec", SERVER)
        with serving(*options, protocol=protocol, prefix=prefix) as service:
            before = counted()
            records = classify(
                service.url, half, folder / "keys", wanted,
                "a-token-that-is-long-enough",
            )  # fmt: skip
            after = counted()
    tickets = len(records) + records[-1]["tickets"] if protocol == "prepared" else 0
    up = sum(record["bytes"]["up"] for record in records) + records[0]["bytes"]["keys"]
    up += tickets * records[0]["bytes"].get("prepare_up", 0)
    down = sum(record["bytes"]["down"] for record in records)
    down += tickets * records[0]["bytes"].get("prepare_down", 0)
    apart = max(
        max(abs(a - float(b)) for a, b in zip(record["logits"], expected[text], strict=True))
        for record, text in zip(records, wanted, strict=True)
    )
    same = sum(
        max(range(2), key=record["logits"].__getitem__) == int(expected[text].argmax())
        for record, text in zip(records, wanted, strict=True)
    )
    return {
        "protocol": protocol,
        "texts": len(records),
        "labels_as_in_clear": same,
        "largest_logit_difference": apart,
        "rounds": records[0]["rounds"],
        "tickets": tickets,
        "key_bytes": records[0]["bytes"]["keys"],
        "reported_up": up,
        "counted_up": after[0] - before[0],
        "reported_down": down,
        "counted_down": after[1] - before[1],
        "median_server_seconds": sorted(r["seconds"]["server"] for r in records)[len(records) // 2],
    }


def main() -> None:
    """Every protocol, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--file", type=Path, help="a .tsv.gz with a column 'text'")
    parser.add_argument("--bucket", type=int, default=16)
    chosen = parser.parse_args()
    found = texts(chosen.file)
    wanted = (found * chosen.texts)[: chosen.texts]
    record: dict[str, Any] = {"surroundings": surroundings()}
    with cable():
        record["runs"] = [one(protocol, wanted, chosen.bucket) for protocol in MODELS]
    table = [
        ["protocol", "texts", "labels as in clear", "largest logit difference", "rounds",
         "tickets", "keys MB", "up MB reported / counted", "down MB reported / counted",
         "server s a text"]
    ]  # fmt: skip
    for run in record["runs"]:
        table.append([
            run["protocol"], str(run["texts"]), str(run["labels_as_in_clear"]),
            f"{run['largest_logit_difference']:.1e}", str(run["rounds"]),
            str(run["tickets"] or ""), f"{run['key_bytes'] / 1e6:.1f}",
            f"{run['reported_up'] / 1e6:.1f} / {run['counted_up'] / 1e6:.1f}",
            f"{run['reported_down'] / 1e6:.1f} / {run['counted_down'] / 1e6:.1f}",
            f"{run['median_server_seconds']:.2f}",
        ])  # fmt: skip
    write("two_machines", record, table)
    print("\n".join(" | ".join(row) for row in table))


if __name__ == "__main__":
    main()
