"""What a pool is made of: handles of workers, and a factory that starts and stops them.

Another factory puts workers on other machines; ``examples/ray/service.py`` is one.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import msgpack

from thex_hf.serving.fork_server_client import ForkServerClient
from thex_hf.serving.worker import Job

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
    """A worker that a :class:`~thex_hf.serving.fork_server_client.ForkServerClient` forked.

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
