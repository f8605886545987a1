"""What the prepared protocol costs at the sizes of real models.

``python benchmarks/prepared.py [--cases NAME ...] [--repeats 5]``. Random weights of BERT shape,
backend ``seal``, both roles on this machine, real ciphertexts and tickets on disk, each case in a
process of its own. "Peak GB" is of the largest process, "GB of all" the largest sum over the
processes of both roles, where what they share counts once, looked at twice a second. Writes
results/prepared.json and results/prepared.md; rows that are not run
again stay as they are, each with the machine and commit that it is of. Takes from a minute
(BERT-tiny) to an hour (BERT-base).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import RESULTS, proportional_bytes, surroundings, tree, write

CASES = {
    "BERT-tiny": {"layers": 2, "hidden": 128, "heads": 2, "tokens": 32},
    "MiniLM-L6, 32": {"layers": 6, "hidden": 384, "heads": 12, "tokens": 32},
    "MiniLM-L6, 128": {"layers": 6, "hidden": 384, "heads": 12, "tokens": 128},
    "DistilBERT": {"layers": 6, "hidden": 768, "heads": 12, "tokens": 128},
    "BERT-base": {"layers": 12, "hidden": 768, "heads": 12, "tokens": 128},
    "MiniLM-L6 normalised, 32": {
        "layers": 6, "hidden": 384, "heads": 12, "tokens": 32, "degree": 4,
    },
    "MiniLM-L6 normalised, 128": {
        "layers": 6, "hidden": 384, "heads": 12, "tokens": 128, "degree": 4,
    },
}  # fmt: skip


def weights_of(case: dict[str, Any]) -> Any:
    """Random weights whose stream stays of one size, of the normalised form with a ``degree``."""
    from thex_hf.approximations.layernorm import inverse_root
    from thex_hf.weights import EncoderWeights, InverseRoot, LayerWeights, PolynomialTerms

    rng = np.random.default_rng(0)
    size, wide, heads = case["hidden"], 4 * case["hidden"], case["heads"]

    root = None
    if case.get("degree"):
        root = InverseRoot(inverse_root(0.1, 3.0, case["degree"])[0], np.array([0.1, 3.0]))

    def matrix(out: int, inner: int) -> Any:
        return rng.normal(size=(out, inner)) * 0.5 / np.sqrt(inner)

    def layer() -> LayerWeights:
        terms = PolynomialTerms(
            2, np.full(heads, 3.0), np.full(heads, 0.1), np.array([0.125, 0.25, 0.5])
        )
        zeros, scale = np.zeros(size), np.full(size, 0.7)
        return LayerWeights(
            matrix(size, size), zeros, matrix(size, size), matrix(size, size),
            matrix(size, size), zeros, scale, zeros, matrix(wide, size), np.zeros(wide),
            matrix(size, wide), zeros, scale, zeros, terms, root, root,
        )  # fmt: skip

    layers = tuple(layer() for _ in range(case["layers"]))
    return EncoderWeights(heads, layers, matrix(2, size), np.zeros(2))


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """One case, in a fresh process."""
    from thex_hf.backends.registry import get_backend
    from thex_hf.circuits.protocols import PlanOptions
    from thex_hf.local.session import LocalSession
    from thex_hf.local.simulation import PreparedSimulation
    from thex_hf.prepared.plan import PreparedPlan

    weights = weights_of(case)
    texts = np.random.default_rng(1).normal(size=(case["repeats"], case["tokens"], case["hidden"]))
    with tempfile.TemporaryDirectory() as keys:
        session = LocalSession(
            weights, get_backend("seal"), PlanOptions("prepared"), keys=Path(keys),
            processes=case["processes"],
        )  # fmt: skip
        plan = session.plan(case["tokens"])
        assert isinstance(plan, PreparedPlan)
        session.client.keys_for(plan)
        begin = time.process_time()
        made = session.client.prepare_tickets(plan)
        used = time.process_time() - begin
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        used += children.ru_utime + children.ru_stime
        runs = [session.run(text) for text in texts]
        clear = PreparedSimulation(weights)
        expected = [clear.run(text).logits for text in texts]
        gaps = [np.abs(run.logits - e).max() for run, e in zip(runs, expected, strict=True)]
        same = [run.logits.argmax() == e.argmax() for run, e in zip(runs, expected, strict=True)]
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    batch = plan.batch
    return {
        **case,
        "tickets": made.tickets,
        "prepare_seconds": made.seconds / made.tickets,
        "prepare_cpu_seconds": used / made.tickets,
        "prepare_up_mb": made.bytes_up / made.tickets / 1e6,
        "prepare_down_mb": made.bytes_down / made.tickets / 1e6,
        "ciphertexts_up": batch.up / made.tickets,
        "ciphertexts_down": batch.down / made.tickets,
        "ticket_mb": plan.row_bytes / 1e6,
        "rounds": plan.rounds,
        "client_seconds": median(run.client_seconds for run in runs),
        "server_seconds": median(run.server_seconds for run in runs),
        "online_mb": (runs[0].bytes_up + runs[0].bytes_down) / 1e6,
        "largest_gap": float(max(gaps)),
        "labels": f"{sum(same)} of {len(same)}",
        "peak_gb": peak * 1024 / 1e9,
    }


def watched(command: list[str]) -> tuple[str, int]:
    """What a command prints, and the most bytes that its processes had together."""
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    most = 0
    while running.poll() is None:
        most = max(most, sum(map(proportional_bytes, tree(running.pid))))
        time.sleep(0.5)
    assert running.stdout is not None
    told = running.stdout.read()
    if running.returncode:
        raise SystemExit(f"{command[0]} ended with {running.returncode}")
    return told, most


HEAD = [
    "model", "S", "round trips", "prepare, s a ticket", "CPU s", "MB up", "MB down", "on disk, MB",
    "online: server s", "client s", "MB", "peak GB", "GB of all", "off the network", "labels",
    "commit", "processor", "BLAS",
]  # fmt: skip


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The rows for people, the head first."""
    return [
        HEAD,
        *(
            [
                f"{r['name']} {r['layers']} x {r['hidden']}",
                str(r["tokens"]),
                str(r["rounds"]),
                *(f"{r[key]:.2f}" for key in ("prepare_seconds", "prepare_cpu_seconds")),
                *(f"{r[key]:.1f}" for key in ("prepare_up_mb", "prepare_down_mb", "ticket_mb")),
                *(f"{r[key]:.3f}" for key in ("server_seconds", "client_seconds")),
                *(f"{r[key]:.1f}" for key in ("online_mb", "peak_gb")),
                f"{r['together_gb']:.1f}" if "together_gb" in r else "",
                f"{r['largest_gap']:.4f}",
                r["labels"],
                r["surroundings"]["commit"],
                r["surroundings"]["processor"].replace("(R)", "").removesuffix(" Processor"),
                ", ".join(r["surroundings"].get("blas", [])),
            ]
            for r in rows
        ),
    ]


def main() -> None:
    """Measure the cases in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(json.loads(options.one))))
        return
    commit = surroundings()["commit"]  # before results are written
    path = RESULTS / "prepared.json"
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    kept = [row for row in kept if "surroundings" in row]  # others are of an earlier version
    for name in options.cases:
        case = {"name": name.split(",")[0], **CASES[name]}
        case |= {"repeats": options.repeats, "processes": options.processes}
        told, together = watched([sys.executable, __file__, "--one", json.dumps(case)])
        row = {"case": name, **json.loads(told.splitlines()[-1]), "together_gb": together / 1e9}
        row["surroundings"] = {**surroundings(), "commit": commit}
        kept = [one for one in kept if one["case"] != name] + [row]
        kept.sort(key=lambda one: list(CASES).index(one["case"]))
        write("prepared", {"surroundings": row["surroundings"], "rows": kept}, table(kept))
        print(*table([row])[1], sep=" | ")


if __name__ == "__main__":
    main()
