"""Many texts at once: forked children take whole texts, and share keys and weights.

A child plays both roles, as a local session does; only its transcript comes back. Masks,
encryptions and run numbers draw on the operating system's randomness, in a child as here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from thex_hf._progress import progress
from thex_hf.backends.base import SlotBackend
from thex_hf.errors import OptionError, TextError
from thex_hf.processes.channel import from_message, to_message
from thex_hf.processes.child import can_fork
from thex_hf.processes.pool import share, usable_cores
from thex_hf.protocol.result import Transcript

PACKINGS = ("auto", "text", "batch")
NEVER, TEXTS, PIECES = "never", "texts", "pieces"
"""What a backend's attribute ``forks`` may say; see ``docs/adding_a_backend.md``."""


def process_count(backend: SlotBackend, processes: int | None, *, pieces: bool) -> int:
    """How many processes to use.

    Args:
        backend: its ``forks`` says what children may do; without it, nothing.
        processes: what the user asks for; None: the usable cores.
        pieces: for pieces of one text, otherwise for whole texts.
    """
    forks = getattr(backend, "forks", NEVER)
    if forks not in ((PIECES,) if pieces else (TEXTS, PIECES)) or not can_fork():
        return 1
    return processes or usable_cores()


def check_packing(packing: str) -> str:
    """A packing on offer.

    Raises:
        OptionError: it is not one.
    """
    if packing not in PACKINGS:
        raise OptionError(f"packing must be one of {', '.join(PACKINGS)}, got {packing!r}")
    return packing


def shares(transcript: Transcript) -> list[Transcript]:
    """For each text of a batch its row of the logits, and an equal share of seconds and bytes."""
    count = len(transcript.logits)
    return [
        Transcript(
            own,
            transcript.rounds,
            round(transcript.bytes_up / count),
            round(transcript.bytes_down / count),
            transcript.seconds_client / count,
            transcript.seconds_server / count,
        )
        for own in transcript.logits
    ]


def classify_all(
    count: int, classify: Callable[[int], Transcript], processes: int
) -> list[Transcript | TextError]:
    """Transcripts of requests ``0`` to ``count - 1``, in order, with a progress bar.

    In place of a transcript stands the error of a text that cannot be served; others go on.

    Args:
        count: how many requests.
        classify: runs one; its keys and weights must be there already.
        processes: how many children; 1: none.

    Raises:
        ThexError: as ``classify`` raises, if it is no :class:`TextError`; from a child with the
            request's number.
    """

    def attempt(index: int) -> Transcript | TextError:
        try:
            return classify(index)
        except TextError as error:
            return error

    with progress(count, "classifying") as bar:
        if min(count, processes) > 1:
            messages = share(count, lambda i: _to_message(attempt(i)), processes, bar.update)
            return [_from_message(message) for message in messages]
        out = []
        for index in range(count):
            out.append(attempt(index))
            bar.update()
        return out


def _to_message(found: Transcript | TextError) -> dict[str, Any]:
    if isinstance(found, TextError):
        return {"error": to_message(found)}
    message = {field.name: getattr(found, field.name) for field in fields(found)}
    return {**message, "logits": found.logits.tolist()}


def _from_message(message: dict[str, Any]) -> Transcript | TextError:
    if "error" in message:
        error = from_message(message["error"])
        assert isinstance(error, TextError)  # the only kind that is sent so
        return error
    return Transcript(**{**message, "logits": np.array(message["logits"], dtype=np.float64)})
