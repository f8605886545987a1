"""What threads that share a pipeline take turns at, and what each has for itself."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from thex_hf.pipelines.report import Report


class Turn:
    """A lock, for use with ``with``; a copy of its owner gets one of its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Wait for one's turn."""
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it to the next."""
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is a new lock."""
        return type(self), ()


TOKENISING = Turn()
"""Of all tokenizers, which several pipelines may share: they change their state as they work."""


class LastReports:
    """The reports of each thread's last call; no thread sees those of another."""

    def __init__(self) -> None:
        self._own = threading.local()

    def begin(self) -> list[Report]:
        """A new call of this thread: the list that its reports will go to."""
        self._own.reports = []  # not emptied: who holds the old list keeps it
        return self.last()

    def last(self) -> list[Report]:
        """Of this thread's last call; empty if there was none."""
        if not hasattr(self._own, "reports"):
            self._own.reports = []
        reports: list[Report] = self._own.reports
        return reports

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has no reports yet."""
        return type(self), ()
