"""How several requests go side by side: in threads, where the server is elsewhere, or in children.

A forked child shares keys and weights with this process and plays both roles; only its results
come back. Masks, encryptions and run numbers draw on the operating system's randomness, in a child
as here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from thex_hf._progress import progress
from thex_hf.circuits.plan import Planned
from thex_hf.errors import OptionError, TextError
from thex_hf.processes import error_from_message, error_to_message, map_jobs
from thex_hf.protocol.result import Outcome, Result

PACKINGS = ("auto", "text", "batch")
AT_ONCE = 4
"""Requests that are under way at once: a server computes on one while another is encrypted."""

Classify = Callable[[int], Result]
"""Runs the request of a number; keys and weights must be there already."""


class Spread(Protocol):
    """A way to run numbered requests."""

    @property
    def processes(self) -> int:
        """How many compute side by side: what packing texts into one request competes with."""
        ...

    def run(self, plans: Sequence[Planned], classify: Classify) -> list[Outcome]:
        """The outcome of each request, in order, with a progress bar.

        In place of a result stands the error of a text that cannot be served; others go on.

        Args:
            plans: of the requests.
            classify: runs one.

        Raises:
            ThexError: as ``classify`` raises, if it is no :class:`TextError`.
        """
        ...


@dataclass(frozen=True)
class Threads:
    """Some at once, for a server elsewhere.

    Args:
        at_once: how many.
    """

    at_once: int
    processes: int = 1

    def run(self, plans: Sequence[Planned], classify: Classify) -> list[Outcome]:
        """See :meth:`Spread.run`."""
        with ThreadPoolExecutor(self.at_once) as pool, progress(len(plans), "texts") as bar:

            def one(number: int) -> Outcome:
                try:
                    return _attempt(classify, number)
                finally:
                    bar.update()

            return list(pool.map(one, range(len(plans))))


@dataclass(frozen=True)
class Children:
    """Whole requests in forked children; here, one after the other, if there are none.

    Args:
        processes: how many children; 1: none.
    """

    processes: int

    def run(self, plans: Sequence[Planned], classify: Classify) -> list[Outcome]:
        """See :meth:`Spread.run`; the error of a child has the request's number."""
        count = len(plans)
        with progress(count, "classifying") as bar:
            if min(count, self.processes) > 1:
                messages = map_jobs(
                    count,
                    lambda number: _to_message(_attempt(classify, number)),
                    self.processes,
                    bar.update,
                )
                return [
                    _from_message(message, plan)
                    for message, plan in zip(messages, plans, strict=True)
                ]
            outcomes = []
            for number in range(count):
                outcomes.append(_attempt(classify, number))
                bar.update()
            return outcomes


def check_packing(packing: str) -> str:
    """A packing on offer.

    Raises:
        OptionError: it is not one.
    """
    if packing not in PACKINGS:
        raise OptionError(f"packing must be one of {', '.join(PACKINGS)}, got {packing!r}")
    return packing


def _attempt(classify: Classify, number: int) -> Outcome:
    try:
        return classify(number)
    except TextError as error:
        return error


def _to_message(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, TextError):
        return {"error": error_to_message(outcome)}
    message = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    del message["plan"]  # this process has it
    return {**message, "logits": outcome.logits.tolist()}


def _from_message(message: dict[str, Any], plan: Planned) -> Outcome:
    if "error" in message:
        error = error_from_message(message["error"])
        assert isinstance(error, TextError)  # the only kind that is sent so
        return error
    return Result(**{**message, "logits": np.array(message["logits"], np.float64), "plan": plan})
