"""The protocols side by side: seconds, rounds, bytes, memory, for texts of 16, 32 and 64 tokens.

``python benchmarks/protocols.py [--repeats 5]``. Bundled checkpoints, backend ``seal``. Each row
runs in a process of its own, so that peak memory is its own. Rows with many texts classify
them in one call, keys for their packing included. Writes results/protocols.json and
results/protocols.md. Takes about half an hour.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np
from common import surroundings, write

from thex_hf.circuits.plan import Plan
from thex_hf.protocol.result import result_of

FORM = {"client-aided": "the-x", "refresh": "polynomial", "one-shot": "polynomial"}
CASES = [
    {"protocol": name, "ring": ring, "tokens": tokens, "processes": processes}
    for name, ring, pairs in (
        ("client-aided", None, ((16, 1), (32, 1), (64, 1))),
        ("refresh", None, ((16, 2), (32, 2), (64, 2), (32, 1))),
        ("refresh", 16384, ((32, 2),)),
        ("one-shot", None, ((16, 2), (32, 2), (64, 2), (32, 1))),
    )
    for tokens, processes in pairs
] + [
    {"protocol": "one-shot", "ring": 32768, "tokens": 64, "processes": 2, "repeats": 3},
    {"protocol": "refresh", "ring": None, "tokens": 32, "processes": 2, "batch": 64},
    {"protocol": "refresh", "ring": None, "tokens": 32, "processes": 2, "batch": 128},
]  # fmt: skip


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """All figures of one row; meant for a fresh process."""
    import torch

    import thex_hf
    from thex_hf.backends.registry import get_backend
    from thex_hf.circuits.protocols import PlanOptions
    from thex_hf.local.session import LocalSession

    torch.set_num_threads(1)
    name = thex_hf.bundled_checkpoint(FORM[case["protocol"]])
    model = thex_hf.ThexBertForSequenceClassification.from_pretrained(name).float()
    session = LocalSession(
        model.encoder_weights(), get_backend("seal"),
        PlanOptions(case["protocol"], ring=case["ring"]),
        ranges=model.config.ranges, processes=case["processes"],
    )  # fmt: skip
    texts = case.get("batch", 1)
    ids = np.random.default_rng(0).integers(2000, 10000, size=(texts, case["tokens"]))
    with torch.no_grad():
        embedded = [model.embed(torch.tensor(row[None]))[0].double().numpy() for row in ids]
    plan = session.plan(case["tokens"])
    begin = time.perf_counter()
    first = session.run(embedded[0])
    once = time.perf_counter() - begin
    if texts > 1:
        begin = time.perf_counter()
        first = result_of(session.run_many(embedded)[0])
        server = [(time.perf_counter() - begin) / texts]
        client = [0.0]
    else:
        runs = [session.run(embedded[0]) for _ in range(case["repeats"])]
        server = [run.server_seconds for run in runs]
        client = [run.client_seconds for run in runs]
    assert isinstance(plan, Plan)
    return {
        **case,
        "ring": plan.parameters.ring_degree,
        "modulus_bits": plan.parameters.total_bits,
        "scale_bits": plan.parameters.scale_bits,
        "levels": plan.levels,
        "padded": plan.shape.tokens,
        "server_seconds": median(server),
        "server_seconds_all": server,
        "client_seconds": median(client),
        "client_seconds_all": client,
        "keygen_seconds": first.keygen_seconds,
        "prepare_seconds": first.prepare_seconds,
        "first_text_seconds": once,
        "rounds": first.rounds,
        "key_bytes": first.key_bytes,
        "up_bytes": first.bytes_up,
        "down_bytes": first.bytes_down,
        "key_switches": plan.key_switches,
        "rotation_keys": len(plan.rotations),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def row_of(result: dict[str, Any]) -> list[str]:
    """One line of the table."""
    batch = result.get("batch")
    return [
        result["protocol"],
        str(result["ring"]),
        str(result["tokens"]) + (f", {batch} texts" if batch else ""),
        str(result["processes"]),
        f"{result['server_seconds']:.2f}" + (" a text" if batch else ""),
        "" if batch else f"{result['client_seconds']:.2f}",
        str(result["rounds"]),
        f"{result['key_bytes'] / 1e6:.1f}",
        f"{result['up_bytes'] / 1e6:.2f}",
        f"{result['down_bytes'] / 1e6:.2f}",
        str(result["key_switches"]),
        str(result["levels"]),
        f"{result['keygen_seconds']:.1f}",
        f"{result['prepare_seconds']:.1f}",
        f"{result['peak_memory_bytes'] / 1e6:.0f}",
    ]


def main() -> None:
    """Measure every case in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(json.loads(options.one))))
        return
    place = surroundings()
    results = []
    head = ["protocol", "N", "S", "processes", "server s", "client s", "rounds", "keys MB",
            "up MB", "down MB", "key switches", "levels", "once: keys s", "once: encoding s",
            "peak MB"]  # fmt: skip
    for case in CASES:
        case = {"repeats": options.repeats, **case}
        command = [sys.executable, __file__, "--one", json.dumps(case)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        results.append(json.loads(done.stdout.strip().splitlines()[-1]))
        print(row_of(results[-1]), flush=True)
        record = {"surroundings": place, "repeats": options.repeats, "rows": results}
        write("protocols", record, [head, *(row_of(result) for result in results)])


if __name__ == "__main__":
    main()
