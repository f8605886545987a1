"""Preparing tickets with a server, near or far, in several processes or at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from thex_hf._progress import progress
from thex_hf.client.keys import Keys
from thex_hf.client.tickets import OpenBatch, TicketStock
from thex_hf.client.transport import InMemory, Transport
from thex_hf.errors import BusyError, ChildError, ConnectionLost, ExpiredError
from thex_hf.prepared.jobs import ciphertexts
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.processes import can_fork, keep_freed_memory, map_jobs, usable_cores
from thex_hf.protocol.prepared_client import Preparing

AT_ONCE = 2
"""Jobs under way at once with a server elsewhere: one side computes while the other does."""
TRIES = 3
"""For a job that the server lost."""
STALLED_SECONDS = 900.0
"""Without a step of any job, after which a server that is busy has no room for us."""
LOST = (ExpiredError, ChildError, ConnectionLost)


@dataclass(frozen=True)
class Prepared:
    """What a batch has cost.

    Args:
        tickets: that were made.
        seconds: of wall-clock time.
        bytes_up: sent.
        bytes_down: received.
    """

    tickets: int
    seconds: float
    bytes_up: int
    bytes_down: int


def prepare_batch(
    plan: PreparedPlan,
    keys: Keys,
    server: Transport,
    stock: TicketStock,
    processes: int | None = None,
) -> Prepared:
    """Prepare one batch of tickets, with a progress bar, and put it into the stock.

    Args:
        plan: of the tickets.
        keys: that the server has.
        server: that prepares its half.
        stock: that the batch joins when it is whole.
        processes: that compute side by side, where the server is in this process; None: as many as
            there are usable cores.

    Raises:
        ThexError: as the server says; the stock stays as it was.
        KeyStoreError: the stock's folder has no room.
    """
    begin = time.perf_counter()
    jobs = plan.batch.jobs
    first = list(range(len(plan.batch.linear_jobs)))
    second = sorted(range(len(first), len(jobs)), key=lambda job: -ciphertexts(jobs[job]))

    def preparing() -> Preparing:
        def answer(message: bytes, run: str) -> bytes:
            try:
                return server.answer(message, keys.name, run)
            except BaseException as error:
                if not isinstance(error, ExpiredError | BusyError):
                    server.give_up(keys.name, run)  # it holds many ciphertexts
                raise

        return Preparing(plan, keys.key_id, keys.engine, answer)

    sizes: list[tuple[int, int]] = []
    total = plan.batch.up + plan.batch.down
    with stock.adding() as batch, progress(total, f"preparing {plan.batch.tickets} tickets") as bar:
        opening = preparing()
        batch.name = opening.open()
        run = partial(_job, preparing, batch)
        patient = _Patient(run)
        for part in (first, second):
            if isinstance(server, InMemory):
                many = min(processes or usable_cores(), len(part)) if can_fork() else 1
                if many > 1:
                    sizes += _in_children(plan, part, run, many, bar.update)
                    server.note_jobs(batch.name, part)
                else:
                    sizes += [run(job, bar.update) for job in part]
            else:
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    sizes += pool.map(lambda job: patient.run(job, bar.update), part)
        batch.bytes_up = opening.bytes_up + sum(up for up, _ in sizes)
        batch.bytes_down = opening.bytes_down + sum(down for _, down in sizes)
    seconds = time.perf_counter() - begin
    return Prepared(plan.batch.tickets, seconds, batch.bytes_up, batch.bytes_down)


@dataclass
class _Patient:
    """Jobs with a server elsewhere, again where it lost one or had no room for it.

    A job that begins anew has new masks; the last attempt counts, on both sides.

    Args:
        job: does one.
    """

    job: Callable[[int, Callable[[int], object]], tuple[int, int]]
    _moved: float = field(init=False, default_factory=time.monotonic)

    def run(self, number: int, tick: Callable[[int], object]) -> tuple[int, int]:
        """Do a job. Raises as it does, if it is lost too often or nothing moves for long."""
        tries = 0
        while True:
            done = 0

            def count(ciphertexts: int) -> None:
                nonlocal done
                done += ciphertexts
                self._moved = time.monotonic()
                tick(ciphertexts)

            try:
                return self.job(number, count)
            except BusyError:  # by other jobs of ours, too
                if time.monotonic() - self._moved > STALLED_SECONDS:
                    raise
            except LOST:
                tries += 1
                if tries == TRIES:
                    raise
            tick(-done)
            time.sleep(1.0)


def _job(
    preparing: Callable[[], Preparing],
    batch: OpenBatch,
    job: int,
    tick: Callable[[int], object],
) -> tuple[int, int]:
    """One job; the bytes that it sent and received."""
    half = preparing()
    for done in half.run(batch.name, batch.seed, batch.rows, [job]):
        tick(done)
    batch.give_back()
    return half.bytes_up, half.bytes_down


def _in_children(
    plan: PreparedPlan,
    part: Sequence[int],
    run: Callable[[int, Callable[[int], object]], tuple[int, int]],
    processes: int,
    tick: Callable[[float], object],
) -> list[tuple[int, int]]:
    """Jobs in forked children, which share the rows."""
    done = sum(ciphertexts(plan.batch.jobs[job]) for job in part)

    def work(number: int) -> list[int]:
        keep_freed_memory()
        return list(run(part[number], lambda _: None))

    sizes = map_jobs(len(part), work, processes, lambda: tick(done / len(part)))
    return [(up, down) for up, down in sizes]
