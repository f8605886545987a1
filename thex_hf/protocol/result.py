"""Client and server in one process, joined by bytes only, with a report of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from thex_hf.circuits.plan import Planned
from thex_hf.ckks.engine import Vector
from thex_hf.errors import TextError
from thex_hf.protocol.client import Conversation
from thex_hf.protocol.server import ServerRun


@dataclass(frozen=True)
class Transcript:
    """What one run cost, and its result.

    ``logits`` are ``(labels,)``, for a model that classifies tokens ``(n, labels)``, and for a
    batch ``(texts, labels)``. ``seconds_*`` are wall-clock seconds of each role, ``bytes_*`` what
    crossed each way.
    """

    logits: Vector
    rounds: int
    bytes_up: int
    bytes_down: int
    seconds_client: float
    seconds_server: float


@dataclass(frozen=True)
class Outcome:
    """One classified text: its transcript, plan, and one-time costs paid by this call.

    Texts that share a request have equal shares of its seconds and bytes.
    """

    transcript: Transcript
    plan: Planned
    key_bytes: int
    keygen_seconds: float  # 0 when the keys were there already
    prepare_seconds: float  # 0 when the weights were encoded already
    batch: int = 1  # texts in the same request


Answer: TypeAlias = Outcome | TextError
"""Of one of many texts: its outcome, or why it has none while others have."""


def served(answer: Answer) -> Outcome:
    """The outcome.

    Raises:
        TextError: there is none.
    """
    if isinstance(answer, TextError):
        raise answer
    return answer


def exchange(client: Conversation, server: ServerRun) -> Transcript:
    """Carry messages between the two sides until the client has its logits.

    Raises:
        RangeError: the client saw values on the way that it cannot believe.
    """
    up = client.request()
    down = server.start(up)
    sent, received, rounds = len(up), len(down), 1
    while (reply := client.receive(down)) is not None:
        down = server.reply(reply)
        sent, received, rounds = sent + len(reply), received + len(down), rounds + 1
    client.check()
    assert client.logits is not None
    return Transcript(client.logits, rounds, sent, received, client.seconds, server.seconds)
