"""What a pool is made of: handles of workers, and a factory that starts and stops them.

Workers of this machine are forked by a :mod:`thex_hf.serving.fork_server`, which a
:class:`ForkServerClient` starts, and starts anew where it is lost. Another factory puts workers on
other machines; ``examples/ray/service.py`` is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from msgspec import msgpack

from thex_hf.errors import ChildError
from thex_hf.processes import Channel, error_from_message
from thex_hf.serving.server import Served
from thex_hf.serving.spec import Spec
from thex_hf.serving.worker import Job

logger = logging.getLogger("thex_hf.serving")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PACKAGE = str(Path(__file__).parents[2])
"""Where this package is imported from; the fork server imports the same one."""
_LENGTH = struct.Struct("<Q")
READ_AHEAD = 1 << 20
"""Bytes that a stream reads ahead."""


class WorkerHandle(Protocol):
    """One worker, as the pool sees it. It is asked one thing at a time."""

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        ...

    async def ask(self, job: Job) -> dict[str, Any]:
        """What :meth:`thex_hf.serving.worker.Worker.do` returns for a job.

        Raises:
            EOFError, OSError: the worker died.
        """
        ...


class WorkerFactory(Protocol):
    """Starts workers and stops them."""

    async def start(self) -> WorkerHandle:
        """A new worker. Raises ChildError."""
        ...

    async def stop(self, worker: WorkerHandle) -> str:
        """End a worker if it has not ended; how it did, in words."""
        ...


@dataclass(eq=False)
class ForkedWorker:
    """A worker that a :class:`ForkServerClient` forked.

    Args:
        pid: its process.
        reader: from it.
        writer: to it.
    """

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def name(self) -> str:
        """Its process, in words."""
        return f"worker {self.pid}"

    @property
    def alive(self) -> bool:
        """Whether its end of the socket is open."""
        return not self.reader.at_eof()

    async def ask(self, job: Job) -> dict[str, Any]:
        """Send a job, wait for its result."""
        body = msgpack.encode(job.to_message())
        self.writer.write(_LENGTH.pack(len(body)))
        self.writer.write(body)
        await self.writer.drain()
        (length,) = _LENGTH.unpack(await self.reader.readexactly(_LENGTH.size))
        return dict(msgpack.decode(await self.reader.readexactly(length)))


@dataclass(eq=False)
class ForkedWorkerFactory:
    """Workers of this machine.

    Args:
        fork_server: forks them.
    """

    fork_server: ForkServerClient

    async def start(self) -> ForkedWorker:
        """Fork a worker."""
        pid, end = await asyncio.to_thread(self.fork_server.fork)
        streams = await asyncio.open_unix_connection(sock=end, limit=READ_AHEAD)
        return ForkedWorker(pid, *streams)

    async def stop(self, worker: WorkerHandle) -> str:
        """Kill it if need be, and wait for its end."""
        assert isinstance(worker, ForkedWorker)
        worker.writer.close()
        return await asyncio.to_thread(self.fork_server.reap, worker.pid, kill=True)


def _log(lines: IO[bytes]) -> None:
    """Pass on what the server's processes write to standard error, to this process's log."""
    with lines:
        for line in lines:
            logger.warning(line.decode(errors="replace").rstrip())


class ForkServerClient:
    """Has workers forked; from any thread, one command at a time.

    Args:
        spec: what the workers serve.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def start(self) -> Served:
        """Start the fork server and wait until the weights are encoded; what the server is.

        Raises:
            ThexError: as :class:`~thex_hf.serving.server.ThexServer`, or the repository of keys.
            ChildError: the process does not start.
        """
        with self._lock:
            return self._start()

    def fork(self) -> tuple[int, socket.socket]:
        """A new worker: its process, and the socket to it. A lost fork server is started anew.

        Raises:
            ChildError: no process could be started.
        """
        near, far = socket.socketpair()
        try:
            with self._lock:
                try:
                    answer = self._request_fork(far)
                except (EOFError, OSError):
                    self._start()
                    answer = self._request_fork(far)
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
        if "error" in answer:
            near.close()
            raise error_from_message(answer["error"])
        return int(answer["pid"]), near

    def reap(self, pid: int, *, kill: bool) -> str:
        """Wait for a worker's end, or make it end; how it did, in words."""
        with self._lock, contextlib.suppress(EOFError, OSError):
            how = self._ask({"op": "reap", "pid": pid, "kill": kill})["how"]
            if how is not None:
                return str(how)
        with contextlib.suppress(OSError):  # the fork server is gone, and cannot tell
            os.kill(pid, signal.SIGKILL)
        return "ended with the process that had started it"

    def stop(self) -> None:
        """End the fork server and all its workers."""
        with self._lock:
            self._close()

    def _request_fork(self, far: socket.socket) -> dict[str, Any]:
        if self._link is None:
            raise EOFError
        Channel(self._link).send({"op": "fork"})
        socket.send_fds(self._link, [b"."], [far.fileno()])
        return dict(Channel(self._link).receive())

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        if self._link is None:
            raise EOFError
        Channel(self._link).send(command)
        return dict(Channel(self._link).receive())

    def _start(self) -> Served:
        self._close()
        self._link, far = socket.socketpair()
        command = [sys.executable, "-m", "thex_hf.serving.fork_server", str(far.fileno())]
        paths = os.pathsep.join(filter(None, [PACKAGE, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **ONE_THREAD, "THEX_HF_NO_TORCH": "1", "PYTHONPATH": paths}
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=[far.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
            )
            threading.Thread(target=_log, args=(self._process.stderr,), daemon=True).start()
            far.close()
            answer = self._ask(self._spec.to_message())
        except (EOFError, OSError) as error:
            far.close()
            self._close()
            raise ChildError(
                f"the process that holds the model did not start: {error}; is there enough memory?"
            ) from error
        if "error" in answer:
            self._close()
            raise error_from_message(answer["error"])
        return Served(**answer["served"])

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()  # the fork server ends its workers and itself
            self._link = None
        if self._process is not None:
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
