"""What a bound on encoded weights costs: ``refresh`` on a model of 3 layers x hidden 384.

``python benchmarks/memory_bound.py [--bounds 1 2 4] [--processes 1]``. Random weights of that shape
(12 heads), 32 tokens, backend ``seal``, real ciphertexts, client and server in one process. Kept
whole, the encoded weights take 33 GB; beyond the bound they are encoded anew for each text. For
each bound, in gigabytes, a fresh process makes keys, encodes what fits, and classifies one text;
seconds of CPU are of both sides, and say more than those of the clock where the machine is shared.
Writes results/memory_bound.json and results/memory_bound.md. Takes some minutes a bound.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from common import surroundings, write
from scaling import ranges_of, weights_of

CASE: dict[str, Any] = {
    "protocol": "refresh",
    "tokens": 32,
    "hidden": 384,
    "layers": 3,
    "heads": 12,
}


def peak() -> int:
    """The most bytes that this process has had in memory, or any of its children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * 1024


def measure(gigabytes: float, processes: int) -> dict[str, Any]:
    """One bound, in a fresh process."""
    from thex_hf.backends.registry import get_backend
    from thex_hf.circuits.plan import Plan
    from thex_hf.circuits.protocols import PlanOptions
    from thex_hf.local.session import LocalSession

    case = CASE
    begin = time.perf_counter()
    weights = weights_of(case)
    session = LocalSession(
        weights, get_backend("seal"), PlanOptions(case["protocol"]), ranges=ranges_of(case),
        processes=processes, plaintext_bytes=1e9 * gigabytes,
    )  # fmt: skip
    plan = session.plan(case["tokens"])
    assert isinstance(plan, Plan)
    planned = time.perf_counter() - begin
    embedded = np.random.default_rng(1).normal(size=(case["tokens"], case["hidden"]))
    begin, processor = time.perf_counter(), time.process_time()
    session.client.keys_for(plan)
    prepared, prepared_cpu = time.perf_counter() - begin, time.process_time() - processor
    processor = time.process_time()
    result = session.run(embedded)
    spent = time.process_time() - processor
    took = peak()
    cache = session.server._model.store(plan)
    return {
        **case,
        "bound_gb": gigabytes,
        "processes": processes,
        "ring": plan.parameters.ring_degree,
        "levels": plan.levels,
        "plaintext_bytes": plan.plaintext_limbs * plan.parameters.ring_degree * 8,
        "kept_bytes": cache.held_bytes,
        "kept": cache.kept,
        "planning_seconds": planned,
        "prepare_seconds": prepared,
        "prepare_cpu_seconds": prepared_cpu,
        "cpu_seconds": spent,
        "server_seconds": result.server_seconds,
        "client_seconds": result.client_seconds,
        "peak_bytes": took,
        "logits": result.logits.tolist(),
        "load_after": os.getloadavg()[0],
    }


def table_of(rows: list[dict[str, Any]]) -> list[list[str]]:
    """What is shown of the rows, head first."""
    head = ["bound", "kept", "of", "once, s", "a text, s", "a text, s of CPU", "peak", "load"]
    return [head] + [
        [
            f"{row['bound_gb']:g} GB",
            f"{row['kept_bytes'] / 1e9:.1f} GB",
            f"{row['plaintext_bytes'] / 1e9:.1f} GB",
            f"{row['prepare_seconds']:.0f}",
            f"{row['server_seconds'] + row['client_seconds']:.0f}",
            f"{row['cpu_seconds']:.0f}",
            f"{row['peak_bytes'] / 1e9:.2f} GB",
            f"{row['load_before']:.0f} to {row['load_after']:.0f}",
        ]
        for row in rows
    ]


def main() -> None:
    """Measure each bound in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bounds", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one, options.processes)))
        return
    place = surroundings()
    rows = []
    for bound in options.bounds:
        load = surroundings()["load_average"][0]
        command = [sys.executable, __file__, "--one", str(bound)]
        command += ["--processes", str(options.processes)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{bound} GB: exit code {done.returncode}")
        row = json.loads(done.stdout.strip().splitlines()[-1])
        rows.append({**row, "load_before": load})
        print(rows[-1], flush=True)
        write("memory_bound", {"surroundings": place, "rows": rows}, table_of(rows))


if __name__ == "__main__":
    main()
