"""What one text gave and cost, wherever its server is and whatever engine it ran on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from thex_hf.circuits.plan import Planned
from thex_hf.ckks.engine import Vector
from thex_hf.errors import TextError


@dataclass(frozen=True)
class Result:
    """One text's logits, and what they cost.

    Args:
        logits: ``(labels,)``, for a model that classifies tokens ``(n, labels)``, and for a batch
            that is not yet divided ``(texts, labels)``.
        plan: that it ran under.
        rounds: requests that were answered.
        bytes_up: sent, without keys.
        bytes_down: received.
        client_seconds: wall-clock seconds of the client's work.
        server_seconds: waited for the server, the way there and back included.
        key_bytes: of the evaluation keys, which are sent once.
        keygen_seconds: of making and sending keys; 0 when that was done before.
        prepare_seconds: of encoding weights, where the server is in this process, or of preparing
            tickets; 0 when that was done before.
        prepare_bytes_up: sent when the text's ticket was prepared; None: it had none.
        prepare_bytes_down: received then.
        tickets_left: for texts of this padded length.
        wraps: tries before this one in which a number wrapped around: each spent a ticket, and its
            seconds and bytes are not counted here. None: no ticket was spent.
        batch: texts in the same request, each with an equal share of its seconds and bytes.
    """

    logits: Vector
    plan: Planned
    rounds: int
    bytes_up: int
    bytes_down: int
    client_seconds: float
    server_seconds: float
    key_bytes: int = 0
    keygen_seconds: float = 0.0
    prepare_seconds: float = 0.0
    prepare_bytes_up: int | None = None
    prepare_bytes_down: int | None = None
    tickets_left: int | None = None
    wraps: int | None = None
    batch: int = 1

    def divided(self) -> list[Result]:
        """Of a batch one result a text; the first one has the one-time costs."""
        count = len(self.logits)
        return [
            replace(
                self,
                logits=logits,
                bytes_up=round(self.bytes_up / count),
                bytes_down=round(self.bytes_down / count),
                client_seconds=self.client_seconds / count,
                server_seconds=self.server_seconds / count,
                keygen_seconds=0.0 if index else self.keygen_seconds,
                prepare_seconds=0.0 if index else self.prepare_seconds,
                batch=count,
            )
            for index, logits in enumerate(self.logits)
        ]


def joined(windows: Sequence[Result], logits: Vector) -> Result:
    """The result of a text from those of its windows, with what all of them cost.

    Args:
        windows: at least one; the plan and the tickets that are left are those of the longest.
        logits: of the text.
    """
    largest = max(windows, key=lambda one: one.plan.facts.bucket)
    bucket = largest.plan.facts.bucket
    of_largest = [one for one in windows if one.plan.facts.bucket == bucket]
    return replace(
        largest,
        logits=logits,
        rounds=sum(one.rounds for one in windows),
        bytes_up=sum(one.bytes_up for one in windows),
        bytes_down=sum(one.bytes_down for one in windows),
        client_seconds=sum(one.client_seconds for one in windows),
        server_seconds=sum(one.server_seconds for one in windows),
        key_bytes=sum({one.key_bytes for one in windows}),  # one size for each key set
        keygen_seconds=sum(one.keygen_seconds for one in windows),
        prepare_seconds=sum(one.prepare_seconds for one in windows),
        prepare_bytes_up=_sum(one.prepare_bytes_up for one in windows),
        prepare_bytes_down=_sum(one.prepare_bytes_down for one in windows),
        tickets_left=None
        if largest.tickets_left is None
        else min(one.tickets_left or 0 for one in of_largest),
        wraps=_sum(one.wraps for one in windows),
        batch=max(one.batch for one in windows),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    """Of those that there are; None if there are none."""
    found = [count for count in counts if count is not None]
    return sum(found) if found else None


Outcome: TypeAlias = Result | TextError
"""Of one of many texts: its result, or why it has none while others have."""


def result_of(outcome: Outcome) -> Result:
    """The result.

    Raises:
        TextError: there is none.
    """
    if isinstance(outcome, TextError):
        raise outcome
    return outcome


def outcomes_of(outcome: Outcome, texts: Sequence[object], *, batch: bool) -> list[Outcome]:
    """The outcome of each text of a request."""
    if isinstance(outcome, TextError):
        return [outcome] * len(texts)
    return list(outcome.divided()) if batch else [outcome]
