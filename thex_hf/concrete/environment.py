"""The environment that Concrete runs in: made, found, tried out, removed.

Concrete needs numpy 1 and a Python before 3.13, so it cannot share an environment with the current
Hugging Face stack. It gets one of its own from ``requirements.txt`` beside this file: exact
versions with hashes, without torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thex_hf.concrete.process import REQUIREMENTS, Worker
from thex_hf.errors import BackendUnavailable, ThexError

PYTHONS = ("3.11", "3.12")
HOME = "THEX_HF_HOME"
"""Environment variable: where environments go; ``~/.cache/thex_hf`` by default."""
DONE = "thex_hf.json"
DOWNLOAD = "about 185 MB on Linux, 110 MB on macOS"
INSTALL = "thex-hf backend install concrete"


@dataclass(frozen=True)
class State:
    """Whether the environment works, found out by starting a worker in it."""

    works: bool
    folder: Path
    why_not: str = ""
    versions: dict[str, Any] = field(default_factory=dict)


def home() -> Path:
    """Where this package keeps what is no model: environments, keys of a server's clients."""
    named = os.environ.get(HOME)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "thex_hf"


def folder() -> Path:
    """Where the environment of this release's requirements is, or would be."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    return home() / f"concrete-{digest[:12]}"


def python() -> Path:
    """The environment's interpreter.

    Raises:
        BackendUnavailable: it was never made, or only half.
    """
    where = folder()
    if not (where / DONE).is_file():
        raise BackendUnavailable(
            f"backend 'concrete' runs in an environment of its own, which is not there yet "
            f"({where}); make it with: {INSTALL}  (downloads {DOWNLOAD})"
        )
    return interpreter(where)


def interpreter(environment: Path) -> Path:
    """The Python of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def state() -> State:
    """Try the environment out."""
    try:
        worker = Worker(python(), "server")
        try:
            worker.start()
            return State(True, folder(), versions=dict(worker.versions))
        finally:
            worker.close()
    except ThexError as error:
        return State(False, folder(), str(error))


def install(base: str | None = None, *, overwrite: bool = False) -> State:
    """Make the environment and try it out. What was half made is removed.

    Args:
        base: the Python to make it with, 3.11 or 3.12; this one if it is one of them.
        overwrite: make it again if it is there.

    Raises:
        BackendUnavailable: no Python that will do, no network, no space, or it does not work.
    """
    where = folder()
    if (where / DONE).is_file() and not overwrite:
        present = state()
        if present.works:
            return present
    base = base or sys.executable
    _check_python(base)
    remove()
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        _run([base, "-m", "venv", str(where)], "make a virtual environment")
        pip = [str(interpreter(where)), "-m", "pip", "install", "--quiet", "--no-deps"]
        options = ["--require-hashes", "--only-binary=:all:", "--disable-pip-version-check"]
        _run([*pip, *options, "-r", str(REQUIREMENTS)], "install Concrete")
        (where / DONE).write_text(json.dumps({"requirements": REQUIREMENTS.read_text()}))
        made = state()
    except (OSError, BackendUnavailable) as error:
        remove()
        raise BackendUnavailable(f"{error}; nothing was left in {where}") from error
    if not made.works:
        remove()
        raise BackendUnavailable(f"Concrete was installed but does not work: {made.why_not}")
    return made


def remove() -> bool:
    """Remove the environment; whether there was any."""
    where = folder()
    there = where.exists()
    shutil.rmtree(where, ignore_errors=True)
    return there


def _check_python(base: str) -> None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = _run([base, "-c", code], "ask a Python for its version").strip()
    if version not in PYTHONS:
        raise BackendUnavailable(
            f"Concrete has wheels for Python {' and '.join(PYTHONS)}; {base} is {version}. Name "
            f"another one: {INSTALL} --python python3.12"
        )


def _run(command: list[str], what: str) -> str:
    """Run a command and return what it printed.

    Raises:
        BackendUnavailable: it failed; with the end of what it said.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BackendUnavailable(f"cannot {what}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BackendUnavailable(f"cannot {what}: {' '.join(said[-3:])[-600:]}")
    return done.stdout
