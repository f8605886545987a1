"""Workers that answer in turn: which one, how many wait, and what happens when one dies."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from thex_hf.errors import BusyError, ChildError
from thex_hf.processes import error_from_message
from thex_hf.serving.fairness import FairLock, share_exhausted
from thex_hf.serving.runs import RunName
from thex_hf.serving.worker import Job
from thex_hf.serving.worker_handles import WorkerFactory, WorkerHandle

NEWEST_SHARE = 0.1
"""How much the last job counts in the running mean of their seconds."""


@dataclass(eq=False)
class _PooledWorker:
    """A worker, the jobs that wait for it, and the keys whose engines it has."""

    handle: WorkerHandle
    lock: FairLock = field(default_factory=FairLock)
    waiting: Counter[str] = field(default_factory=Counter)
    stopped: bool = False
    keys: set[tuple[str, str]] = field(default_factory=set)

    @property
    def queue_length(self) -> int:
        """Jobs that are being done or wait."""
        return self.waiting.total()

    @property
    def alive(self) -> bool:
        return self.handle.alive and not self.stopped


@dataclass(eq=False)
class WorkerPool:
    """Gives jobs to workers and replaces the ones that die.

    A run stays with the worker that began it. A worker that dies takes its runs with it; whoever
    had sent the job it died of gets an error, and those that waited for it are served by another.
    Owners take turns at a worker, and none has more waiting than is left for the others.

    Args:
        factory: where workers come from.
        size: how many.
        most_waiting: jobs that may wait for each before new texts are turned away.
        seconds: that one job may take before its worker is ended.
        run_seconds: after which a run is surely given up.
        log: called with a line about each worker that died.
    """

    factory: WorkerFactory
    size: int = 1
    most_waiting: int = 16
    seconds: float = 300.0
    run_seconds: float = 600.0
    log: Callable[[str], object] = lambda line: None
    replaced: int = 0
    _workers: list[_PooledWorker] = field(default_factory=list, repr=False)
    _runs: dict[RunName, tuple[_PooledWorker, float]] = field(default_factory=dict, repr=False)
    _mean_seconds: float = 1.0

    async def start(self) -> None:
        """Start the workers. Raises ChildError."""
        self._workers = [_PooledWorker(await self.factory.start()) for _ in range(self.size)]

    async def stop(self) -> None:
        """End all of them."""
        for worker in self._workers:
            worker.stopped = True
            await self.factory.stop(worker.handle)

    @property
    def waiting(self) -> int:
        """Jobs that are being done or wait."""
        return sum(worker.queue_length for worker in self._workers)

    @property
    def runs(self) -> int:
        """Runs in progress."""
        return len(self._runs)

    def wait_seconds(self) -> int:
        """About how long it will take until a worker has time, at least a second."""
        seconds = self._mean_seconds * self.waiting / max(1, len(self._workers))
        return max(1, math.ceil(seconds))

    async def ask(self, job: Job) -> dict[str, Any]:
        """Have one job done, by the worker of its run if it has one.

        Returns:
            As :meth:`thex_hf.serving.worker.Worker.do`, without errors.

        Raises:
            BusyError: too many wait already, or too many of this owner; a run in progress is never
                turned away.
            ChildError: the worker died of it, or took too long.
            ThexError: as the worker says.
        """
        in_progress = self._runs.get(job.run_name) if job.run_name else None
        if in_progress is None and self._is_full(job.owner):
            raise BusyError(
                f"{self.waiting} requests wait for {len(self._workers)} workers; try again in "
                f"about {self.wait_seconds()} s"
            )
        worker = in_progress[0] if in_progress else self._least_busy(job)
        while (result := await asyncio.shield(asyncio.create_task(self._do(worker, job)))) is None:
            worker = self._least_busy(job)  # the other died first: this one knows what to say
        if "error" in result:
            raise error_from_message(result["error"])
        return result

    async def give_up(self, owner: str, keys: str, run: str) -> None:
        """Have a run given up, if there is one. Raises ChildError."""
        if RunName(owner, keys, run) in self._runs:
            await self.ask(Job("give_up", owner, keys, run))

    async def ask_all(self, job: Job) -> None:
        """Have every worker do a job; one that dies meanwhile has nothing left to do."""
        results = [self._do(worker, job) for worker in list(self._workers)]
        await asyncio.shield(asyncio.gather(*results, return_exceptions=True))

    def _is_full(self, owner: str) -> bool:
        owned = sum(worker.waiting[owner] for worker in self._workers)
        capacity = self.most_waiting * len(self._workers)
        return share_exhausted(owner, owned, self.waiting, capacity)

    def _least_busy(self, job: Job) -> _PooledWorker:
        """The worker with the shortest queue; of several one that has the keys already."""
        keys = (job.owner, job.keys)
        return min(self._workers, key=lambda one: (one.queue_length, keys not in one.keys))

    async def _do(self, worker: _PooledWorker, job: Job) -> dict[str, Any] | None:
        """Wait for a worker and have it do a job; None if it died before."""
        worker.waiting[job.owner] += 1
        try:
            async with worker.lock.hold(job.owner):
                if not worker.alive:
                    await self._replace(worker)
                    return None
                try:
                    result = await asyncio.wait_for(worker.handle.ask(job), self.seconds)
                except (TimeoutError, EOFError, OSError) as error:
                    how = await self._replace(worker, late=isinstance(error, TimeoutError))
                    raise ChildError(
                        f"the worker that did this {how}; it has been replaced, send the text again"
                    ) from None
        finally:
            worker.waiting[job.owner] -= 1
            worker.waiting += Counter()  # forgets whose count is zero
        self._record(worker, job, result)
        return result

    def _record(self, worker: _PooledWorker, job: Job, result: dict[str, Any]) -> None:
        """Note which keys and runs a worker has, and how long it took."""
        if job.op == "forget":
            worker.keys.discard((job.owner, job.keys))
        elif "error" not in result:
            worker.keys.add((job.owner, job.keys))
        if job.op == "answer" and "error" not in result:
            self._mean_seconds += NEWEST_SHARE * (result["seconds"] - self._mean_seconds)
        if job.run_name is not None and result.get("open"):
            self._runs[job.run_name] = (worker, time.monotonic())
        elif job.run_name is not None:
            self._runs.pop(job.run_name, None)
        end = time.monotonic() - self.run_seconds
        for old in [run for run, (_, touched) in self._runs.items() if touched < end]:
            del self._runs[old]

    async def _replace(self, worker: _PooledWorker, *, late: bool = False) -> str:
        """Stop a worker and start another, unless that is done; how it ended."""
        if worker not in self._workers:
            return "was replaced"
        how = "could not be replaced before"
        if not worker.stopped:
            worker.stopped = True
            how = await self.factory.stop(worker.handle)
            how = f"took more than {self.seconds:.0f} s" if late else how
            self._runs = {run: held for run, held in self._runs.items() if held[0] is not worker}
            self.replaced += 1
            self.log(f"{worker.handle.name} {how}")
        fresh = _PooledWorker(await self.factory.start())
        self._workers[self._workers.index(worker)] = fresh
        return how
