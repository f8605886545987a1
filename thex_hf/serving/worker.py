"""A worker process: all that reads what came from outside, and computes on it, happens here."""

from __future__ import annotations

import contextlib
import gc
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from thex_hf.errors import TooLargeError
from thex_hf.processes import Channel, error_to_message
from thex_hf.serving.keys.repository import KeyRepository
from thex_hf.serving.runs import RunName
from thex_hf.serving.server import ThexServer


@dataclass(frozen=True)
class Job:
    """One piece of work for a worker.

    Args:
        op: ``keys`` reads a key file and sees that it is good, ``answer`` answers a message,
            ``give_up`` ends a run, ``forget`` drops the engine of a key file.
        owner: who asks.
        keys: SHA-256 of the key file.
        run: that the message is of, or that is given up.
        data: the message.
    """

    op: Literal["keys", "answer", "give_up", "forget"]
    owner: str
    keys: str
    run: str | None = None
    data: bytes = field(default=b"", repr=False)

    @property
    def run_name(self) -> RunName | None:
        """The run that the job is of; None if it is of none."""
        return None if self.run is None else RunName(self.owner, self.keys, self.run)

    def to_message(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Job:
        """The reverse of :meth:`to_message`."""
        return cls(**message)


@dataclass
class Worker:
    """Does jobs one after the other.

    Args:
        server: the model, its weights encoded.
        repository: where key files are.
    """

    server: ThexServer
    repository: KeyRepository = field(repr=False)

    def do(self, job: Job) -> dict[str, Any]:
        """Do one job.

        Returns:
            Plain values: ``seconds`` that it took; ``data``, the next message, or ``error``; for a
            job of a run also ``open``, whether the run goes on.
        """
        begin = time.perf_counter()
        try:
            result = self._do(job)
        except MemoryError:
            error = TooLargeError("this takes more memory than a worker of this server may use")
            result = {"error": error_to_message(error)}
        except Exception as error:
            result = {"error": error_to_message(error)}
        if (run := job.run_name) is not None:
            result["open"] = run in self.server.runs
        return {**result, "seconds": time.perf_counter() - begin}

    def _do(self, job: Job) -> dict[str, Any]:
        if job.op == "answer":
            if not self.server.has_keys(job.keys, job.owner):
                self._load_keys(job)
            return {"data": self.server.answer(job.data, job.keys, job.owner, job.run)}
        if job.op == "keys":
            self._load_keys(job)
        elif job.op == "give_up":
            self.server.runs.drop(cast(RunName, job.run_name))
        else:
            self.server.drop_keys(job.keys, job.owner)
        return {}

    def _load_keys(self, job: Job) -> None:
        self.server.take_keys(self.repository.read(job.keys, job.owner), job.owner)


def serve(worker: Worker, channel: Channel) -> None:
    """Do jobs until the other side is gone."""
    gc.enable()
    with contextlib.suppress(EOFError, OSError):
        while True:
            channel.send(worker.do(Job.from_message(channel.receive())))
