"""How seconds and key switches grow with text length, hidden size and layers.

``python benchmarks/scaling.py [--repeats 1]``. Random weights of BERT shape (BERT-tiny with one
size changed at a time), backend ``seal``, one process, real ciphertexts. Writes
results/scaling.json, results/scaling.md and, with ``--plot`` or by itself afterwards,
results/scaling.png. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median
from typing import Any

import numpy as np
from common import RESULTS, surroundings, write

FORM = {"client-aided": "the-x", "refresh": "polynomial", "one-shot": "polynomial"}
BASE = {"tokens": 32, "hidden": 128, "layers": 2}
VALUES = {"tokens": (16, 32, 64), "hidden": (64, 128, 256), "layers": (1, 2, 3)}
RINGS = {"client-aided": None, "refresh": None, "one-shot": 16384}
REFUSED = 3  # exit code of a case that no ring carries


def weights_of(case: dict[str, Any]) -> Any:
    """Random weights of ordinary size, in the form that the protocol serves."""
    from thex_hf.weights import EncoderWeights, LayerWeights, PolynomialTerms

    rng = np.random.default_rng(0)
    size, wide = case["hidden"], 4 * case["hidden"]
    heads = case.get("heads", size // 64)

    def matrix(out: int, inner: int) -> Any:
        return rng.normal(size=(out, inner)) * 0.5 / np.sqrt(inner)

    def ones(count: int) -> Any:
        return np.ones(count)

    def layer() -> LayerWeights:
        terms = PolynomialTerms(
            2, np.full(heads, 3.0), np.full(heads, 0.1), np.array([0.125, 0.25, 0.5])
        )
        zeros = np.zeros(size)
        return LayerWeights(
            matrix(size, size), zeros, matrix(size, size), matrix(size, size),
            matrix(size, size), zeros, ones(size), zeros, matrix(wide, size), np.zeros(wide),
            matrix(size, wide), zeros, ones(size), zeros,
            terms if FORM[case["protocol"]] == "polynomial" else None,
        )  # fmt: skip

    layers = tuple(layer() for _ in range(case["layers"]))
    return EncoderWeights(heads, layers, matrix(2, size), np.zeros(2))


def ranges_of(case: dict[str, Any]) -> list[dict[str, float]]:
    """Calibrated ranges of ordinary size."""
    keys = ("value", "layer_out", "scores", "ffn_pre", "stream_in", "attention_out")
    return [dict.fromkeys(keys, 8.0)] * case["layers"]


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """One case, in a fresh process; one-shot moves to a larger ring when it must."""
    from thex_hf.backends.registry import get_backend
    from thex_hf.circuits.plan import Plan
    from thex_hf.circuits.protocols import PlanOptions
    from thex_hf.errors import PlanError
    from thex_hf.local.session import LocalSession

    ranges = ranges_of(case)
    for ring in (RINGS[case["protocol"]], 32768):
        session = LocalSession(
            weights_of(case), get_backend("seal"), PlanOptions(case["protocol"], ring=ring),
            ranges=ranges, processes=1,
        )  # fmt: skip
        try:
            plan = session.plan(case["tokens"])
            break
        except PlanError as error:
            if ring == 32768:
                print(error, file=sys.stderr)
                raise SystemExit(REFUSED) from None
    assert isinstance(plan, Plan)
    embedded = np.random.default_rng(1).normal(size=(case["tokens"], case["hidden"]))
    seconds = [session.run(embedded).server_seconds for _ in range(case["repeats"])]
    return {
        **case,
        "ring": plan.parameters.ring_degree,
        "levels": plan.levels,
        "rounds": plan.schedule.rounds,
        "key_switches": plan.key_switches,
        "server_seconds": median(seconds),
        "server_seconds_all": seconds,
    }


def plot(rows: list[dict[str, Any]]) -> None:
    """Seconds and key switches against each size, for each protocol."""
    from matplotlib import pyplot

    titles = {"tokens": "tokens (S)", "hidden": "hidden size (d)", "layers": "layers (L)"}
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6), sharex="col")
    for column, size in enumerate(VALUES):
        for name in FORM:
            own = [r for r in rows if r["varied"] == size and r["protocol"] == name]
            x = [r[size] for r in own]
            axes[0, column].plot(x, [r["server_seconds"] for r in own], "o-", label=name)
            axes[1, column].plot(x, [r["key_switches"] for r in own], "o-", label=name)
        axes[1, column].set_xlabel(titles[size])
        axes[1, column].set_xticks(VALUES[size])
        for axis in axes[:, column]:
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("server seconds, one process")
    axes[1, 0].set_ylabel("key switches")
    axes[0, 0].legend()
    figure.suptitle("One text; BERT-tiny (S=32, d=128, L=2) with one size changed at a time")
    figure.tight_layout()
    figure.savefig(RESULTS / "scaling.png", dpi=110)


def main() -> None:
    """Measure every case in turn, then plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--plot", action="store_true", help="only plot what was measured before")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(json.loads(options.one))))
        return
    if options.plot:
        plot(json.loads((RESULTS / "scaling.json").read_text())["rows"])
        return
    place = surroundings()
    rows: list[dict[str, Any]] = []
    seen: dict[str, Any] = {}
    for name in FORM:
        for size, values in VALUES.items():
            for value in values:
                case = {"protocol": name, **BASE, size: value, "repeats": options.repeats}
                text = json.dumps(case)
                if text not in seen:
                    command = [sys.executable, __file__, "--one", text]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode not in (0, REFUSED):
                        raise SystemExit(done.stderr)
                    lines = done.stdout.strip().splitlines()
                    seen[text] = json.loads(lines[-1]) if lines else None
                if seen[text]:
                    rows.append({"varied": size, **seen[text]})
                    print(rows[-1], flush=True)
    table = [["protocol", "S", "d", "layers", "N", "levels", "rounds", "key switches", "server s"]]
    for row in rows:
        keys = ("protocol", "tokens", "hidden", "layers", "ring", "levels", "rounds")
        cells = [str(row[key]) for key in (*keys, "key_switches")]
        table.append([*cells, f"{row['server_seconds']:.2f}"])
    write("scaling", {"surroundings": place, "repeats": options.repeats, "rows": rows}, table)
    plot(rows)


if __name__ == "__main__":
    main()
