"""Forked children: they share this process's memory, so keys and weights are not copied.

:class:`Channel` carries messages, :class:`Child` is one copy of this process that does one piece
of work and ends, :func:`map_jobs` hands numbered jobs to several. Nothing here knows what is
computed. Messages are msgpack: what a child sends is data and never code.

A child runs no exit handlers, flushes none of the parent's buffers and never returns into
the code that forked it. It must not use torch or anything else that has threads of its own:
only the thread that forked goes on in the child.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from selectors import EVENT_READ, DefaultSelector
from typing import Any, NoReturn

from msgspec import Struct, ValidationError, convert, msgpack

from thex_hf import errors
from thex_hf.errors import ChildError, OptionError, ThexError

_LENGTH = struct.Struct("<Q")


class Failure(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a child sends of an error: its kind, its text and where it came from."""

    kind: str
    text: str
    trace: str


class Channel:
    """One end of a connected pair of sockets."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two ends: what one sends the other receives."""
        one, two = socket.socketpair()
        return cls(one), cls(two)

    def fileno(self) -> int:
        """The descriptor, for selectors."""
        return self._end.fileno()

    def send(self, message: Any) -> None:
        """Send one message; waits while the other side does not read.

        Raises:
            OSError: the other side is gone.
        """
        data = msgpack.encode(message)
        self._end.sendall(_LENGTH.pack(len(data)))
        self._end.sendall(data)

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other side is gone.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return msgpack.decode(self._read(length))

    def close(self) -> None:
        """Close this end in this process."""
        self._end.close()

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            try:
                count = self._end.recv_into(view)
            except ConnectionError:
                count = 0
            if not count:
                raise EOFError("the other side of the channel is gone")
            view = view[count:]
        return data


def error_to_message(error: Exception) -> Failure:
    """What a child sends of an error."""
    return Failure(type(error).__name__, str(error), "".join(traceback.format_exception(error)))


def error_from_message(message: Any, where: str = "") -> ThexError:
    """The error to raise for one that a child sent.

    Args:
        message: what came of :func:`error_to_message`.
        where: goes before the text, for example ``"text 3: "``.

    Returns:
        An error of the same class when it is one of :mod:`thex_hf.errors`, otherwise a
        :class:`ChildError` that names the class. The child's traceback is a note on it.
    """
    try:
        failure = convert(message, Failure)
    except ValidationError as problem:
        return ChildError(f"{where}a child process sent what is no error: {problem}")
    kind, text = getattr(errors, failure.kind, None), failure.text
    if not (isinstance(kind, type) and issubclass(kind, ThexError)):
        kind, text = ChildError, f"a child process raised {failure.kind}: {text}"
    error = kind(where + text)
    error.add_note(f"In a child process:\n{failure.trace}")
    return error


def describe_exit(status: int) -> str:
    """How a child ended, in words, from what ``waitpid`` says of it."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        name = f" ({signal.Signals(-status).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {-status}{name}"


Target = Callable[[Channel], None]
"""What a child runs, given its end of the channel."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TOKENIZERS = "TOKENIZERS_PARALLELISM"
_in_child = False


def can_fork() -> bool:
    """Whether children can be had: the system has ``fork``, and this is not a child itself."""
    return hasattr(os, "fork") and not _in_child


class Child:
    """A child at work.

    Args:
        target: runs in the child, with the child's end of the channel.
        siblings: children that run already; the new one lets go of their channels.

    Raises:
        ChildError: the system does not start another process.
    """

    def __init__(self, target: Target, siblings: list[Child] | None = None) -> None:
        self.channel, theirs = Channel.pair()
        self._status: int | None = None
        inherited = [self.channel, *(sibling.channel for sibling in siblings or [])]
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self.pid = _fork(target, theirs, inherited)
        except OSError as error:
            self._status = 1
            self.channel.close()
            raise ChildError(
                f"no child process could be started ({error}); use fewer processes"
            ) from error
        finally:
            theirs.close()
            self._release(blocked)

    def receive(self) -> Any:
        """The child's next message.

        Raises:
            ChildError: it ended without one; says by which signal or exit code.
        """
        try:
            return self.channel.receive()
        except EOFError:
            how = describe_exit(self.wait())
        raise ChildError(
            f"a child process {how} before it had its result; if the system was short of "
            f"memory, use fewer processes"
        )

    def wait(self) -> int:
        """Wait for the end; the exit code, or minus the signal. No zombie is left."""
        if self._status is None:
            self.channel.close()
            self._status = 0
            with suppress(ChildProcessError):  # someone else has collected it
                self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def kill(self) -> None:
        """End it now, whatever it does, and wait for the end."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def _release(self, blocked: set[signal.Signals | int]) -> None:
        """Let signals through again; a Ctrl-C that came meanwhile ends the child too."""
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        except BaseException:
            self.kill()
            raise


def _fork(target: Target, channel: Channel, inherited: list[Channel]) -> int:
    """Fork, with signals held back: no handler of the parent is to run in the child."""
    with _fork_warnings_off():
        pid = os.fork()
    if pid == 0:
        _run_child(target, channel, inherited)
    return pid


def _run_child(target: Target, channel: Channel, inherited: list[Channel]) -> NoReturn:
    """The child's whole life."""
    global _in_child
    status = 1
    try:
        _in_child = True
        gc.disable()  # a collection would touch, and so copy, pages that are shared
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for other in inherited:
            other.close()
        one_thread()
        target(channel)
        status = 0
    finally:
        os._exit(status)


@contextmanager
def _fork_warnings_off() -> Iterator[None]:
    """Two libraries warn of every fork; here nothing of theirs is used in a child."""
    decided = _TOKENIZERS in os.environ or "tokenizers" not in sys.modules
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
        if not decided:
            os.environ[_TOKENIZERS] = "false"
        try:
            yield
        finally:
            if not decided:
                del os.environ[_TOKENIZERS]


_KEEP = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))
"""Of malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD."""


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees for what it allocates next.

    Large arrays that come and go are otherwise given back and taken anew, and each time the system
    fills them with zeros. For a child that computes and ends. Does nothing without glibc.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for name, value in _KEEP:
            library.mallopt(name, value)


def one_thread() -> None:
    """Have this process take one thread for matrix products: other processes have the other cores.

    Otherwise each of several takes threads for all cores, and they wait for each other actively.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")


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
