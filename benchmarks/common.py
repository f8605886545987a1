"""What every benchmark records: machine, versions, commit; and how results are written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "numpy", "tenseal")


def surroundings() -> dict[str, Any]:
    """Machine, load, versions, kernels and commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "blas": _blas(),
        "commit": _commit(),
    }


def write(name: str, record: dict[str, Any], table: list[list[str]]) -> None:
    """Write ``results/NAME.json`` and ``results/NAME.md``; the table's first row is its head."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    head, *rows = ["| " + " | ".join(row) + " |" for row in table]
    rule = "|" + "---|" * len(table[0])
    place = record["surroundings"]
    note = (
        f"{place['processor']}, {place['cores']} cores, Python {place['python']}, "
        f"commit {place['commit']}; load before the run {place['load_average'][0]}."
    )
    (RESULTS / f"{name}.md").write_text("\n".join([head, rule, *rows, "", note]) + "\n")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _blas() -> list[str]:
    """The kernels that numpy's matrix products run on: OPENBLAS_CORETYPE may force a slower one."""
    import numpy  # noqa: F401 - what is looked at is what it has loaded
    from threadpoolctl import threadpool_info

    pools = (pool for pool in threadpool_info() if pool["user_api"] == "blas")
    return sorted({f"{pool['internal_api']} {pool.get('architecture', '')}" for pool in pools})


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The commit, and whether anything but earlier results was changed since."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], capture_output=True, text=True, cwd=here, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "..", ":!results")
    return (git("describe", "--always") or "unknown") + ("-dirty" if changed else "")


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
    return found


def proportional_bytes(pid: int) -> int:
    """Memory of a process; of what it shares with others, its share."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0
