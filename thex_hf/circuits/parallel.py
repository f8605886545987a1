"""Independent pieces of one circuit, one after the other or side by side in forked children.

SEAL's binding holds Python's lock, so threads do not help. A forked child shares keys and
weights with its parent without a copy, so a closure works in it as it does here; only the
handles it makes come back, as bytes. Fork where a piece takes far longer than that: some
hundredths of a second for each gigabyte in memory, and half a rotation for each handle.

Weights that a child encodes are lost with it: encode them before (:func:`.encode_weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

from thex_hf.ckks.engine import Handle, ServerEngine
from thex_hf.processes import (
    Channel,
    Child,
    can_fork,
    check_processes,
    error_from_message,
    error_to_message,
)

Task: TypeAlias = Callable[[], list[Handle]]


class ParallelRunner(Protocol):
    """Runs tasks that do not depend on each other."""

    @property
    def processes(self) -> int:
        """How many tasks run side by side: into so many parts work is worth splitting."""
        ...

    def run(self, engine: ServerEngine, tasks: Sequence[Task]) -> list[list[Handle]]:
        """What each task returns, in order.

        Raises:
            ThexError: what a task raises, in whichever process.
            ChildError: a child died.
        """
        ...

    def collect(self) -> None:
        """Wait for children that have handed in their results and are ending."""
        ...


class SequentialRunner:
    """One task after the other, in this process."""

    processes = 1

    def run(self, engine: ServerEngine, tasks: Sequence[Task]) -> list[list[Handle]]:
        """What each task returns, in order."""
        return [task() for task in tasks]

    def collect(self) -> None:
        """There are no children."""


class ForkedRunner:
    """Side by side, in this process and ``processes - 1`` children.

    This process does the first task, and children that end before it wait for it. In a child,
    and where the system has no ``fork``, tasks run one after the other.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._ending: list[Child] = []

    def run(self, engine: ServerEngine, tasks: Sequence[Task]) -> list[list[Handle]]:
        """What each task returns, in order."""
        groups = [tasks[start :: self.processes] for start in range(self.processes)]
        first, *others = [group for group in groups if group]
        if not others or not can_fork():
            return SequentialRunner().run(engine, tasks)
        self.collect()
        children: list[Child] = []
        try:
            for group in others:
                children.append(Child(partial(_answer, engine, group), children))
            results = [[task() for task in first]]
            results += [_adopted(engine, child) for child in children]
        except BaseException:
            for child in children:
                child.kill()
            raise
        self._ending = children
        return [results[i % self.processes][i // self.processes] for i in range(len(tasks))]

    def collect(self) -> None:
        """Giving back a gigabyte takes a child a while: nobody waits for it sooner."""
        while self._ending:
            self._ending.pop().wait()


SEQUENTIAL = SequentialRunner()


def runner_for(processes: int) -> ParallelRunner:
    """The runner for so many processes.

    Raises:
        OptionError: less than one.
    """
    check_processes(processes)
    return SEQUENTIAL if processes == 1 else ForkedRunner(processes)


def _answer(engine: ServerEngine, tasks: Sequence[Task], channel: Channel) -> None:
    """In the child: do the tasks and send their handles, or the error."""
    try:
        results = [[engine.export(a) for a in task()] for task in tasks]
    except Exception as error:
        channel.send([None, error_to_message(error)])
    else:
        channel.send([results, None])


def _adopted(engine: ServerEngine, child: Child) -> list[list[Handle]]:
    results, error = child.receive()
    if error is not None:
        raise error_from_message(error)
    return [[engine.adopt(data) for data in handles] for handles in results]
