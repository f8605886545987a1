"""Looks for the client's secret key and text in the memory and on the disk of a running service.

    sudo python benchmarks/memory_scan.py

Needles: the coefficients of the secret key, as SEAL holds and as it saves them, in pieces of 64
bytes; the text in UTF-8 and UTF-16; its token ids as 32- and 64-bit numbers; its embeddings as
float64 and float32. Every process of the service is read page by page, and every file of its folder
of keys. The client's own memory is read the same way: there the needles must be found, or the scan
is blind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import surroundings, write
from service import client, serving

from thex_hf.protocol.keys import KeyStore

TEXT = "The patient in room 4711 complained of xanthopsia after digoxin."
PIECE = 64


def needles(person: Any, keys: Path) -> dict[str, list[bytes]]:
    """What must not be found, by kind."""
    half = person.half
    ids, types = half.tokenise(TEXT)
    embeddings = half.embed(ids, types)
    return {
        "secret key": list(_key_pieces(person, keys)),
        "text": [TEXT.encode(), TEXT.encode("utf-16-le"), b"xanthopsia"],
        "token ids": [ids.astype(np.int32).tobytes(), ids.astype(np.int64).tobytes()],
        "embeddings": [embeddings[1].tobytes(), embeddings[1].astype(np.float32).tobytes()],
    }


def _key_pieces(person: Any, keys: Path) -> Iterator[bytes]:
    """ResumableUpload of the secret key: as it is saved, and as SEAL computes with it."""
    for key_set, made in person.client.made.items():
        found = KeyStore(keys).load(key_set, "seal")
        assert found is not None
        saved, seal = found[0].reveal(), made.engine._seal
        yield from (saved[start : start + PIECE] for start in range(100, 2000, 500))
        loaded = seal.load("SecretKey", saved, limit=seal.key_limit(1))  # must outlive its data
        plain = loaded.data()
        words = np.array([plain.data(i) for i in range(512)], np.uint64)
        yield from (words[start : start + PIECE // 8].tobytes() for start in range(0, 512, 128))


def memory(pid: int) -> Iterator[bytes]:
    """Every readable region of a process, in blocks that overlap."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", 0) as file:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if not found or "[vvar" in line or "[vsyscall" in line:
                continue
            place, end = int(found[1], 16), int(found[2], 16)
            while place < end:
                file.seek(place)
                try:
                    block = file.read(min(end - place, 64 << 20))
                except OSError:
                    break
                if not block:
                    break
                yield block
                place += max(len(block) - 4096, 1) if place + len(block) < end else len(block)


def scan(blocks: Iterator[bytes], wanted: dict[str, list[bytes]]) -> tuple[dict[str, int], int]:
    """How often each kind was found, and the bytes that were read."""
    found, read = dict.fromkeys(wanted, 0), 0
    for block in blocks:
        read += len(block)
        for kind, pieces in wanted.items():
            found[kind] += sum(block.count(piece) for piece in pieces)
    return found, read


def main() -> None:
    """Serve, classify, scan, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocols", nargs="+", default=["client-aided", "refresh", "one-shot"])
    chosen = parser.parse_args()
    record: dict[str, Any] = {"surroundings": surroundings(), "runs": []}
    table = [["protocol", "where", "MB read", "secret key", "text", "token ids", "embeddings"]]
    for protocol in chosen.protocols:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as own:
            keys = Path(own) / "keys"
            options = ("--port", 0, "--bucket", 32, "--keys", folder)
            with serving(*options, protocol=protocol) as service:
                person = client(service.url, protocol, keys)
                person.classify(TEXT)
                wanted = needles(person, keys)
                places = {f"process {n}": memory(pid) for n, pid in enumerate(service.pids())}
                places["disk"] = (path.read_bytes() for path in Path(folder).rglob("*.*"))
                places["client (control)"] = memory(os.getpid())
                for place, blocks in places.items():
                    found, read = scan(blocks, wanted)
                    record["runs"].append(
                        {"protocol": protocol, "place": place, "bytes": read, "found": found}
                    )
                    table.append([protocol, place, f"{read / 1e6:.0f}", *map(str, found.values())])
    write("memory_scan", record, table)
    print(json.dumps(table, indent=0))
    served = [run for run in record["runs"] if "control" not in run["place"]]
    control = [run for run in record["runs"] if "control" in run["place"]]
    assert not any(sum(run["found"].values()) for run in served), "something leaked"
    assert all(run["found"]["secret key"] and run["found"]["text"] for run in control), "blind"


if __name__ == "__main__":
    main()
