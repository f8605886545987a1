"""Numbered jobs for several children, each of which takes the next when it has done one."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from thex_hf.errors import OptionError
from thex_hf.processes.channel import Channel, error_from_message, error_to_message
from thex_hf.processes.child import Child


def usable_cores() -> int:
    """Cores that this process may use; 1 where the system does not say.

    It says so on Linux. Elsewhere a fork is less safe (macOS: its own libraries may not work
    in a child), so a user has to ask for processes.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def check_processes(processes: int | None) -> int | None:
    """Refuse numbers of processes that mean nothing.

    Raises:
        OptionError: not a whole number of 1 or more.
    """
    if processes is None or (type(processes) is int and processes >= 1):
        return processes
    raise OptionError(
        f"processes must be a whole number, 1 or more, or None for the number of cores; "
        f"got {processes!r}"
    )


def map_jobs(
    count: int, work: Callable[[int], Any], processes: int, on_done: Callable[[], object]
) -> list[Any]:
    """Do jobs ``0`` to ``count - 1`` in ``processes`` children.

    Args:
        count: how many jobs.
        work: does one in a child; what it returns must be plain data.
        processes: how many children.
        on_done: called here after each job.

    Returns:
        The results in order.

    Raises:
        ThexError: the error of the job that failed first, its text after ``text NUMBER:``
            (from 0); all children are ended then, as on Ctrl-C.
        ChildError: a child ended on its own.
    """
    results: list[Any] = [None] * count
    children: list[Child] = []
    jobs = iter(range(count))
    try:
        with DefaultSelector() as selector:
            for index in (next(jobs) for _ in range(min(processes, count))):
                children.append(Child(partial(_serve, work), children))
                children[-1].channel.send(index)
                selector.register(children[-1].channel, EVENT_READ, children[-1])
            for _ in range(count):
                child = selector.select()[0][0].data
                index, result, error = child.receive()
                if error is not None:
                    raise error_from_message(error, f"text {index}: ")
                results[index] = result
                on_done()
                following = next(jobs, None)
                if following is None:
                    selector.unregister(child.channel)
                else:
                    child.channel.send(following)
        for child in children:
            child.wait()
    finally:
        for child in children:
            child.kill()
    return results


def _serve(work: Callable[[int], Any], channel: Channel) -> None:
    """In a child: do jobs until the parent closes the channel or is gone."""
    with suppress(EOFError, OSError):
        while True:
            index = channel.receive()
            try:
                message = [index, work(index), None]
            except Exception as error:
                message = [index, None, error_to_message(error)]
            channel.send(message)
