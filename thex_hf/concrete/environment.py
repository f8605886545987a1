"""The environment that Concrete runs in: made, found, tried out, removed; and the workers in it.

Concrete needs numpy 1 and a Python before 3.13, so it cannot share an environment with the current
Hugging Face stack. It gets one of its own from ``requirements.txt`` beside this file: exact
versions with hashes, without torch. There :mod:`thex_hf.concrete.worker` runs, and :class:`Worker`
is the other end of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

import msgpack

from thex_hf.errors import BackendUnavailable, ChildError, ThexError

PYTHONS = ("3.11", "3.12")
HOME = "THEX_HF_HOME"
"""Environment variable: where environments go; ``~/.cache/thex_hf`` by default."""

DONE = "thex_hf.json"
DOWNLOAD = "about 185 MB on Linux, 110 MB on macOS"
INSTALL = "thex-hf backend install concrete"
VERSION = 1
MOST = 1 << 31
START_SECONDS = 120.0
WORKER = Path(__file__).with_name("worker.py")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


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


@cache
def pins() -> dict[str, str]:
    """The version of each package that the environment should have."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split()[0].partition("==") for line in lines if "==" in line)
    return {name: number for name, _, number in pairs}


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


class Worker:
    """One worker process of a role, started on first use.

    Args:
        python: the interpreter of Concrete's environment.
        role: ``client`` or ``server``.
        timeout: seconds that one request may take.

    A worker that died is not started again behind the caller's back, since it held keys or
    circuits: the request fails with :class:`~thex_hf.errors.ChildError`, and the next one finds a
    fresh worker, for which :attr:`generation` has gone up.
    """

    def __init__(self, python: Path, role: str, timeout: float = 3600.0) -> None:
        self.role, self.timeout = role, timeout
        self.generation = 0
        self.versions: Mapping[str, Any] = {}
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def start(self) -> None:
        """Start the process unless it runs.

        Raises:
            BackendUnavailable: it cannot be started, or speaks another version.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [str(self._python), "-E", "-s", str(WORKER), self.role],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
            self.versions = self._read(START_SECONDS)
        except (OSError, ChildError) as error:
            self.close()
            raise BackendUnavailable(
                f"Concrete's worker does not start ({error}); make its environment again with: "
                f"thex-hf backend install concrete --overwrite"
            ) from error
        self.generation += 1
        if wrong := self._wrong():
            self.close()
            raise BackendUnavailable(
                f"{wrong}; make its environment again with: "
                f"thex-hf backend install concrete --overwrite"
            )

    def _wrong(self) -> str:
        """What is not as this release expects it; empty if all is."""
        spoken = self.versions.get("version")
        if spoken != VERSION:
            return f"Concrete's worker speaks version {spoken!r}, this release {VERSION}"
        wanted = pins()
        for name, number in self.versions["packages"].items():
            if wanted.get(name) != number:
                return (
                    f"Concrete's environment has {name} {number}, this release was made for "
                    f"{wanted.get(name)}"
                )
        return ""

    @property
    def pid(self) -> int | None:
        """The process, None if there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, op: str, **message: Any) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            ChildError: the worker died, took too long, or reported an error.
            BackendUnavailable: it cannot be started.
        """
        self.start()
        body = msgpack.packb({"op": op, **message})
        try:
            assert self._process is not None
            assert self._process.stdin is not None
            self._process.stdin.write(len(body).to_bytes(8, "big") + body)
            self._process.stdin.flush()
            answer = self._read(self.timeout)
        except (OSError, ChildError) as error:
            said = self._last_words()
            self.close()
            raise ChildError(
                f"Concrete's {self.role} worker stopped while it did {op!r}: {error}{said}. "
                f"Nothing of this process is lost; try again"
            ) from error
        if "error" in answer:
            raise ChildError(f"Concrete's {self.role} worker: {op}: {answer['error']}")
        return dict(answer["ok"])

    def close(self) -> None:
        """Stop the process."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next message.

        Raises:
            ChildError: none came in time, or the stream ended.
        """
        end = time.monotonic() + seconds
        size = int.from_bytes(self._bytes(8, end), "big")
        if size > MOST:
            raise ChildError(f"it announced a message of {size} bytes")
        answer: dict[str, Any] = msgpack.unpackb(self._bytes(size, end), max_bin_len=MOST)
        return answer

    def _bytes(self, count: int, end: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        pipe, parts, missing = self._process.stdout, [], count
        while missing:
            left = end - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise ChildError("it took too long")
            part = os.read(pipe.fileno(), min(missing, 1 << 20))
            if not part:
                raise ChildError(f"it ended with exit status {self._process.wait()}")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _last_words(self) -> str:
        """The end of what the worker wrote to standard error."""
        if self._errors is None:
            return ""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 500))
        words = self._errors.read().decode(errors="replace").strip()
        return f" ({words.splitlines()[-1]})" if words else ""
