"""What a user could pick instead: SPU and CrypTen beside the protocol ``prepared``, in one run.

``python benchmarks/peers.py [--spu PYTHON] [--crypten PYTHON] [--cases NAME ...] [--repeats 3]``.
Each of the other systems runs in the interpreter that is given for it; peers_spu.py and
peers_crypten.py say how to make one. Those not given are left out, with a line that says so.

Both compute a BERT encoder as it is (softmax, GELU, layer norms) and a classifier of two labels
on the first row, with random weights, on one text that is embedded already. ``prepared`` computes
what such a model is converted to: the polynomial form for BERT-tiny, the normalised form for
MiniLM-L6, as prepared.py measures them. All parties are on this machine. Writes
results/peers.json and results/peers.md; rows that are not run again stay as they are. Takes about
an hour, most of it for SPU and for the tickets of MiniLM-L6.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import RESULTS, surroundings, write
from torch.nn import functional

HERE = Path(__file__).parent
TINY = {"name": "BERT-tiny", "layers": 2, "hidden": 128, "heads": 2}
SMALL = {"name": "MiniLM-L6", "layers": 6, "hidden": 384, "heads": 12, "degree": 4}
CASES: dict[str, dict[str, Any]] = {
    "BERT-tiny, 32": {**TINY, "tokens": 32},
    "BERT-tiny, 128": {**TINY, "tokens": 128},
    "MiniLM-L6, 32": {**SMALL, "tokens": 32},
}
GELU: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "erf": functional.gelu,
    "tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
}
"""BERT's own, and the forms in which the other systems compute it."""

OURS, SPU, CRYPTEN = "thex_hf, prepared", "SPU 0.9.5, Cheetah", "CrypTen 0.4.1, dealer"
GELU_OF = {SPU: "tanh", CRYPTEN: "sigmoid"}
TRUSTED = {
    OURS: "nobody else",
    SPU: "nobody else",
    CRYPTEN: "a dealer that colludes with neither",
}


def network_of(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """Random weights and one text, float32, by the names under which the parties read them.

    Matrices are ``(inputs, outputs)``. Scores, and what GELU gets, have a deviation of about one.
    """
    rng = np.random.default_rng(0)
    size, wide = case["hidden"], 4 * case["hidden"]
    arrays: dict[str, np.ndarray] = {"heads": np.array(case["heads"])}

    def linear(name: str, inner: int, out: int) -> None:
        arrays[f"{name}.weight"] = rng.normal(size=(inner, out)) / np.sqrt(inner)
        arrays[f"{name}.bias"] = rng.normal(size=out) * 0.1

    for layer in range(case["layers"]):
        for name in ("query", "key", "value", "output"):
            linear(f"{layer}.{name}", size, size)
        linear(f"{layer}.up", size, wide)
        linear(f"{layer}.down", wide, size)
        for name in ("attention_norm", "output_norm"):
            arrays[f"{layer}.{name}.weight"] = 1 + rng.normal(size=size) * 0.1
            arrays[f"{layer}.{name}.bias"] = rng.normal(size=size) * 0.1
    linear("classifier", size, 2)
    arrays["text"] = rng.normal(size=(case["tokens"], size))
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def expected(arrays: dict[str, np.ndarray], gelu: str) -> np.ndarray:
    """Logits of the network in float64, with one of the forms of ``GELU``."""
    weights = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
    stream = weights["text"]
    tokens, size = stream.shape
    heads = int(arrays["heads"])

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(
            x, (size,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5
        )

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(tokens, heads, -1).transpose(0, 1)

    layer = 0
    while f"{layer}.query.weight" in weights:
        query, key, value = (
            split(linear(stream, f"{layer}.{part}")) for part in ("query", "key", "value")
        )
        context = functional.scaled_dot_product_attention(query, key, value)
        joined = context.transpose(0, 1).reshape(tokens, size)
        stream = norm(stream + linear(joined, f"{layer}.output"), f"{layer}.attention_norm")
        inner = GELU[gelu](linear(stream, f"{layer}.up"))
        stream = norm(stream + linear(inner, f"{layer}.down"), f"{layer}.output_norm")
        layer += 1
    return np.asarray(linear(stream[0], "classifier"))


def last_line(command: list[str]) -> dict[str, Any]:
    """Run a command, whose last line is JSON."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_ours(case: dict[str, Any], repeats: int) -> dict[str, Any]:
    """A row of ``prepared``, by prepared.py."""
    one = json.dumps({**case, "repeats": repeats, "processes": 2})
    got = last_line([sys.executable, str(HERE / "prepared.py"), "--one", one])
    return {
        "before_seconds": got["prepare_seconds"],
        "seconds": got["client_seconds"] + got["server_seconds"],
        "before_mb": got["prepare_up_mb"] + got["prepare_down_mb"],
        "mb": got["online_mb"],
        "rounds": got["rounds"],
        "error": got["largest_gap"],
        "peak_gb": got["peak_gb"],
        "measured": got,
    }


def run_peer(system: str, python: str, case: dict[str, Any], repeats: int) -> dict[str, Any]:
    """A row of another system, by its script in its own interpreter."""
    script = HERE / ("peers_spu.py" if system == SPU else "peers_crypten.py")
    arrays = network_of(case)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        got = last_line([python, str(script), str(path), "--repeats", str(repeats)])
    logits = np.array(got["logits"])
    return {
        "before_seconds": median(got["before_seconds"]),
        "seconds": median(got["seconds"]),
        "before_mb": got["before_bytes"] / 1e6,
        "mb": got["bytes"] / 1e6,
        "rounds": got["rounds"],
        "error": float(np.abs(logits - expected(arrays, GELU_OF[system])).max()),
        "error_of_erf": float(np.abs(logits - expected(arrays, "erf")).max()),
        "peak_gb": got["peak_gb"],
        "measured": got,
    }


HEAD = [
    "system", "model", "S", "before a text, s", "with the text, s", "before, MB", "with, MB",
    "round trips", "largest error of a logit", "protects", "who is trusted besides",
]  # fmt: skip


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The rows for people, the head first."""
    return [
        HEAD,
        *(
            [
                r["system"],
                f"{r['name']} {r['layers']} x {r['hidden']}",
                str(r["tokens"]),
                f"{r['before_seconds']:.2f}" if r["before_seconds"] else "none",
                f"{r['seconds']:.3f}",
                f"{r['before_mb']:.1f}" if r["before_mb"] else "none",
                f"{r['mb']:.1f}",
                f"{r['rounds']} messages" if r["system"] == SPU else str(r["rounds"]),
                f"{r['error']:.4f}",
                "text and model",
                TRUSTED[r["system"]],
            ]
            for r in rows
        ),
    ]


def place(row: dict[str, Any]) -> tuple[int, int]:
    """Where a row stands in the table."""
    return list(CASES).index(row["case"]), list(TRUSTED).index(row["system"])


def main() -> None:
    """Measure the cases in turn, and the systems for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spu", metavar="PYTHON", help="interpreter with spu 0.9.5")
    parser.add_argument("--crypten", metavar="PYTHON", help="interpreter with crypten 0.4.1")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--without-ours", action="store_true", help="leave prepared out")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    pythons = {OURS: sys.executable, SPU: options.spu, CRYPTEN: options.crypten}
    if options.without_ours:
        del pythons[OURS]
    for system, flag in ((SPU, "--spu"), (CRYPTEN, "--crypten")):
        if not pythons[system]:
            print(f"{system} is left out: give its interpreter with {flag}.")
            del pythons[system]
    path = RESULTS / "peers.json"
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    for name in options.cases:
        for system, python in pythons.items():
            case = CASES[name]
            if system == OURS:
                got = run_ours(case, options.repeats)
            else:
                got = run_peer(system, python, case, options.repeats)
            row = {"case": name, "system": system, **case, **got}
            kept = [one for one in kept if (one["case"], one["system"]) != (name, system)] + [row]
            kept.sort(
                key=lambda one: (list(CASES).index(one["case"]), list(TRUSTED).index(one["system"]))
            )
            write("peers", {"surroundings": surroundings(), "rows": kept}, table(kept))
            print(*table([row])[1], sep=" | ", flush=True)


if __name__ == "__main__":
    main()
