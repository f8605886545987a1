"""The protocols of two commits in turn on one machine: seconds of server and client, ratio.

``python benchmarks/side_by_side.py OLD NEW --name exact-visits [--protocols refresh]``. Each commit
is checked out beside this clone and runs rows of its own ``benchmarks/protocols.py``, a fresh
process a row, the old and the new one in turn, so that a slow minute meets both. Counts, levels
and bytes that differ are recorded. Writes results/NAME.json and results/NAME.md. Takes about five
minutes for each protocol.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from common import surroundings, write

ROOT = Path(__file__).parent.parent
EQUAL = ("rounds", "key_bytes", "up_bytes", "down_bytes", "key_switches", "levels", "rotation_keys")
"""Of a row: what a change that is not about them leaves as it was."""
SECONDS = ("server_seconds_all", "client_seconds_all")


def check_out(revision: str, folder: Path) -> str:
    """The commit in a folder of its own; its short name."""
    git = ["git", "-C", str(ROOT)]
    subprocess.run(
        [*git, "worktree", "add", "--quiet", "--detach", str(folder), revision], check=True
    )
    done = subprocess.run([*git, "rev-parse", "--short", revision], capture_output=True, check=True)
    return done.stdout.decode().strip()


def row(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
    """One row of the tree's own benchmark, in a process of its own."""
    script = tree / "benchmarks" / "protocols.py"
    done = subprocess.run(
        [sys.executable, script, "--one", json.dumps(case)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    found.setdefault("client_seconds_all", [found["client_seconds"]])
    return found


def compare(trees: dict[str, Path], case: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Both sides in turn; medians over all repeats of all rounds."""
    rows: dict[str, list[dict[str, Any]]] = {side: [] for side in trees}
    for turn in range(rounds):
        for side in sorted(trees, reverse=bool(turn % 2)):
            rows[side].append(row(trees[side], case))
    result: dict[str, Any] = {"case": case}
    for side, found in rows.items():
        seconds = {name: [one for each in found for one in each[name]] for name in SECONDS}
        result[side] = {
            **{name: seconds[name] for name in SECONDS},
            **{name.removesuffix("_all"): median(seconds[name]) for name in SECONDS},
            **{name: found[0][name] for name in EQUAL},
        }
    old, new = result["old"], result["new"]
    result["ratios"] = {
        name: new[name] / old[name] for name in ("server_seconds", "client_seconds")
    }
    result["different"] = {name: [old[name], new[name]] for name in EQUAL if old[name] != new[name]}
    return result


def lines(result: dict[str, Any]) -> list[list[str]]:
    """Of the table: the old, the new, the ratio."""
    case, found = result["case"], []
    for side in ("old", "new"):
        one = result[side]
        found.append(
            [
                case["protocol"],
                str(case["ring"] or "default"),
                side,
                f"{one['server_seconds']:.2f}",
                f"{one['client_seconds']:.2f}",
                f"{one['key_bytes'] / 1e6:.1f}",
                f"{one['up_bytes'] / 1e6:.2f}",
                f"{one['down_bytes'] / 1e6:.2f}",
                str(one["key_switches"]),
            ]
        )
    ratios = result["ratios"]
    found.append(
        [
            case["protocol"],
            str(case["ring"] or "default"),
            "ratio",
            f"{ratios['server_seconds']:.3f}",
            f"{ratios['client_seconds']:.3f}",
            *[""] * 4,
        ]
    )
    return found


def main() -> None:
    """Measure, write, remove the two check-outs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--name", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=4, help="texts a process")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--protocols", nargs="+", default=["client-aided", "refresh", "one-shot"])
    parser.add_argument("--rings", type=int, nargs="*", default=[], help="of refresh, more")
    chosen = parser.parse_args()
    place = surroundings()
    named = [(name, None) for name in chosen.protocols]
    named += [("refresh", ring) for ring in chosen.rings]
    head = ["protocol", "N", "side", "server s", "client s", "keys MB", "up MB", "down MB"]
    table = [[*head, "key switches"]]
    with tempfile.TemporaryDirectory() as scratch:
        trees = {side: Path(scratch) / side for side in ("old", "new")}
        commits = {side: check_out(getattr(chosen, side), tree) for side, tree in trees.items()}
        results = []
        try:
            for protocol, ring in named:
                case = {
                    "protocol": protocol, "ring": ring, "tokens": chosen.tokens,
                    "processes": chosen.processes, "repeats": chosen.repeats,
                }  # fmt: skip
                results.append(compare(trees, case, chosen.rounds))
                table += lines(results[-1])
                print(*table[-3:], sep="\n", flush=True)
                record = {"surroundings": place, "commits": commits, "rows": results}
                write(chosen.name, record, table)
        finally:
            for tree in trees.values():
                git = ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)]
                subprocess.run(git, check=False)


if __name__ == "__main__":
    main()
