"""All tests that need no flag, against the package as it is installed, with no source beside it.

    python benchmarks/installed.py [--python python3.11 python3.12 ...] [--torch FOLDER]

For each Python: a clone, a source archive, a wheel made of that, a new environment with the wheel
in it, the clone's package removed, and then the tests. With ``--torch`` the pinned torch is taken
from a folder of wheels only; a Python for which none is there is a row that says so. Writes
results/installed.json and .md. Takes about seven minutes for each Python.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import surroundings, write

ROOT = Path(__file__).parents[1]
COUNTS = ("passed", "failed", "skipped", "errors")


def call(*command: object) -> str:
    """Run a command to its end, and return what it says. Raises CalledProcessError."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def tried(name: str, place: Path, torch: Path | None) -> dict[str, Any]:
    """One Python's row."""
    clone, environment = place / "clone", place / "environment"
    call("git", "clone", "-q", ROOT, clone)
    try:
        call(name, "-m", "venv", environment)
    except (OSError, subprocess.CalledProcessError):
        return {"python": name, "said": "not tried: it is not there"}
    python = environment / "bin" / "python"
    row: dict[str, Any] = {"python": call(python, "-V").split()[1]}
    constraints = clone / "constraints.txt"
    if torch is not None:
        (pinned,) = re.findall(r"^torch==.*", constraints.read_text(), re.MULTILINE)
        only = ("--no-deps", "--no-index", f"--find-links={torch}", pinned)
        try:
            call(python, "-m", "pip", "install", "-q", *only)
        except subprocess.CalledProcessError:
            return row | {"said": f"not tried: no wheel of {pinned} at hand for this Python"}
    call(python, "-m", "pip", "install", "-q", "build")
    call(python, "-m", "build", "--outdir", clone / "dist", clone)
    (wheel,) = (clone / "dist").glob("*.whl")
    call(python, "-m", "pip", "install", "-q", "-c", constraints, f"{wheel}[test]")
    shutil.rmtree(clone / "thex_hf")
    begin = time.perf_counter()
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"],
        cwd=clone, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    row["seconds"] = round(time.perf_counter() - begin)
    last = done.stdout.strip().splitlines()[-1]
    found = {word: count for count, word in re.findall(r"(\d+) (\w+)", last)}
    row |= {word: int(found.get(word.rstrip("s"), found.get(word, 0))) for word in COUNTS}
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    print(*lines, last, sep="\n", flush=True)
    return row | {"said": "" if done.returncode == 0 else f"exit status {done.returncode}"}


def main() -> None:
    """Try each Python, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    parser.add_argument("--torch", type=Path, help="a folder of wheels")
    chosen = parser.parse_args()
    place, rows = surroundings(), []
    for name in chosen.python:
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(tried(name, Path(scratch), chosen.torch))
            print(rows[-1], flush=True)
    head = ["Python", *COUNTS, "seconds", ""]
    table = [[row["python"], *(str(row.get(word, "")) for word in (*COUNTS, "seconds")),
              row["said"]] for row in rows]  # fmt: skip
    write("installed", {"surroundings": place, "rows": rows}, [head, *table])


if __name__ == "__main__":
    main()
