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
from thex_hf.processes.channel import Channel, ending

Work = Callable[[Channel], None]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TOKENIZERS = "TOKENIZERS_PARALLELISM"
_inside = False


def can_fork() -> bool:
    """Whether children can be had: the system has ``fork``, and this is not a child itself."""
    return hasattr(os, "fork") and not _inside


class Child:
    """A child at work.

    Args:
        work: runs in the child, with the child's end of the channel.
        siblings: children that run already; the new one lets go of their channels.

    Raises:
        ChildError: the system does not start another process.
    """

    def __init__(self, work: Work, siblings: list[Child] | None = None) -> None:
        self.channel, theirs = Channel.pair()
        self._status: int | None = None
        foreign = [self.channel, *(sibling.channel for sibling in siblings or [])]
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self.pid = _fork(work, theirs, foreign)
        except OSError as error:
            self._status = 1
            self.channel.close()
            raise ChildError(
                f"no child process could be started ({error}); use fewer processes"
            ) from error
        finally:
            theirs.close()
            self._release(held)

    def receive(self) -> Any:
        """The child's next message.

        Raises:
            ChildError: it ended without one; says by which signal or exit code.
        """
        try:
            return self.channel.receive()
        except EOFError:
            how = ending(self.wait())
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

    def _release(self, held: set[signal.Signals | int]) -> None:
        """Let signals through again; a Ctrl-C that came meanwhile ends the child too."""
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        except BaseException:
            self.kill()
            raise


def _fork(work: Work, channel: Channel, foreign: list[Channel]) -> int:
    """Fork, with signals held back: no handler of the parent is to run in the child."""
    with _quiet():
        pid = os.fork()
    if pid == 0:
        _live(work, channel, foreign)
    return pid


def _live(work: Work, channel: Channel, foreign: list[Channel]) -> NoReturn:
    """The child's whole life."""
    global _inside
    status = 1
    try:
        _inside = True
        gc.disable()  # a collection would touch, and so copy, pages that are shared
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for other in foreign:
            other.close()
        work(channel)
        status = 0
    finally:
        os._exit(status)


@contextmanager
def _quiet() -> Iterator[None]:
    """Two libraries warn of every fork; here nothing of theirs is used in a child."""
    told = _TOKENIZERS in os.environ or "tokenizers" not in sys.modules
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
        if not told:
            os.environ[_TOKENIZERS] = "false"
        try:
            yield
        finally:
            if not told:
                del os.environ[_TOKENIZERS]
