"""Latency, bytes, memory and the share of our own overhead, for each bucket.

Run from the repository: ``python benchmarks/latency.py [--repeats 5] [--softmax estimate]``.
Each bucket runs in a process of its own, so that peak memory is its own; one thread.
Writes results/latency.json and results/latency.md. Takes about five minutes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from statistics import median
from typing import Any, cast

import numpy as np
from common import surroundings, write

BUCKETS = (16, 32, 64, 128)
VERBS = (
    "encode", "add", "add_plain", "mul_plain", "mul", "rescale", "relinearise", "rotate",
    "mod_switch", "load", "dump",
)  # fmt: skip


class Timed:
    """A server engine that adds up the seconds spent inside the library's primitives."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.slots = engine.slots
        self.level = engine.level
        self.seconds: dict[str, float] = defaultdict(float)
        for verb in VERBS:
            setattr(self, verb, self._timed(verb, getattr(engine, verb)))

    def _timed(self, verb: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            result = function(*args, **options)
            self.seconds[verb] += time.perf_counter() - begin
            return result

        return call


def measure(tokens: int, repeats: int, softmax: str) -> dict[str, Any]:
    """All figures of one bucket; meant for a fresh process."""
    import torch

    import thex_hf
    from thex_hf.backends.registry import get_backend
    from thex_hf.circuits.dispatch import circuit_for, plan_for
    from thex_hf.circuits.planning import encode_weights
    from thex_hf.circuits.protocols import PlanOptions
    from thex_hf.protocol.client import ClientRun, exchange
    from thex_hf.protocol.keys import key_request
    from thex_hf.protocol.server import ServedModel, ServerRun

    torch.set_num_threads(1)
    model = thex_hf.ThexBertForSequenceClassification.from_pretrained(
        thex_hf.bundled_checkpoint("the-x")
    ).float()
    ids = torch.tensor(np.random.default_rng(0).integers(2000, 10000, size=(1, tokens)))
    with torch.no_grad():
        embedded = model.embed(ids)[0].double().numpy()
    weights = model.encoder_weights()
    plan = plan_for(weights, tokens, model.config.ranges, PlanOptions(softmax=softmax))
    backend, served = get_backend("seal"), ServedModel(weights)
    begin = time.perf_counter()
    secret, keys = backend.generate(key_request(plan))
    client = backend.client(plan.parameters, secret)
    engine = backend.server(plan.parameters, keys, plan.rotations)
    keygen = time.perf_counter() - begin
    begin = time.perf_counter()
    encode_weights(engine, served.store(plan), plan, circuit_for(plan, served.folded))
    prepared = time.perf_counter() - begin
    runs = []
    for _ in range(repeats + 1):  # the first is not counted
        timed = Timed(engine)
        run = exchange(
            ClientRun(plan, client, keys.key_id, embedded),
            ServerRun(served, plan, cast(Any, timed), keys.key_id).answer,
        )
        runs.append((run, sum(timed.seconds.values()), dict(timed.seconds)))
    counted = runs[1:]
    middle = sorted(counted, key=lambda item: item[0].server_seconds)[len(counted) // 2]
    return {
        "tokens": tokens,
        "softmax": softmax,
        "seconds": {
            "keygen": keygen,
            "prepare": prepared,
            "client": median(run.client_seconds for run, _, _ in counted),
            "server": median(run.server_seconds for run, _, _ in counted),
            "server_all": [run.server_seconds for run, _, _ in counted],
        },
        "primitive_share": median(total / run.server_seconds for run, total, _ in counted),
        "primitive_seconds": middle[2],
        "rounds": middle[0].rounds,
        "bytes": {"keys": keys.size, "up": middle[0].bytes_up, "down": middle[0].bytes_down},
        "key_switches": plan.key_switches,
        "levels": plan.levels,
        "ring_degree": plan.parameters.ring_degree,
        "modulus_bits": plan.parameters.total_bits,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Measure every bucket in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--softmax", default="estimate")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.repeats, options.softmax)))
        return
    place = surroundings()
    rows = []
    for tokens in BUCKETS:
        command = [
            sys.executable,
            __file__,
            "--one",
            str(tokens),
            "--repeats",
            str(options.repeats),
        ]
        command += ["--softmax", options.softmax]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        print(rows[-1])
    table = [
        ["S", "server s", "client s", "rounds", "up MB", "down MB", "keys MB", "key switches",
         "primitives / server", "peak MB", "once: keys s", "once: encoding s"],
    ]  # fmt: skip
    for row in rows:
        seconds, sizes = row["seconds"], row["bytes"]
        table.append(
            [
                str(row["tokens"]),
                f"{seconds['server']:.2f}",
                f"{seconds['client']:.2f}",
                str(row["rounds"]),
                f"{sizes['up'] / 1e6:.2f}",
                f"{sizes['down'] / 1e6:.2f}",
                f"{sizes['keys'] / 1e6:.1f}",
                str(row["key_switches"]),
                f"{row['primitive_share']:.3f}",
                f"{row['peak_memory_bytes'] / 1e6:.0f}",
                f"{seconds['keygen']:.2f}",
                f"{seconds['prepare']:.1f}",
            ]
        )
    name = "latency" if options.softmax == "estimate" else f"latency-{options.softmax}"
    write(name, {"surroundings": place, "repeats": options.repeats, "rows": rows}, table)


if __name__ == "__main__":
    main()
