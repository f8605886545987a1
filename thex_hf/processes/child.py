"""One forked child: a copy of this process that does one piece of work and ends.

A child runs no exit handlers, flushes none of the parent's buffers and never returns into
the code that forked it. It must not use torch or anything else that has threads of its own:
only the thread that forked goes on in the child.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from thex_hf.errors import ChildError
from thex_hf.processes.channel import Channel, describe_exit

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
