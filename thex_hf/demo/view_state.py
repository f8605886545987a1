"""What the page shows of one text, at one moment. Plain values; knows no page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from thex_hf.ckks.engine import Vector
from thex_hf.client.scores import best

Update = Callable[[Mapping[str, Any]], None]
"""Is told which fields of the view state have changed, by name."""


@dataclass(frozen=True)
class WireMessage:
    """One message that crossed the wire.

    Args:
        up: from client to server.
        name: what it is: keys, request, a visit's name, reply, answer.
        size: bytes.
        excerpt: a piece of it from inside a ciphertext or key.
    """

    up: bool
    name: str
    size: int
    excerpt: bytes


@dataclass(frozen=True)
class Prediction:
    """A label, its score, and the logits ``(labels,)``."""

    label: str
    score: float
    logits: Vector

    @classmethod
    def of(cls, logits: Vector, config: Mapping[str, Any]) -> Prediction:
        """The most probable label, by a model's configuration."""
        first = best(logits, config)
        return cls(str(first["label"]), float(first["score"]), logits)


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds; keys and encoding are paid once."""

    keys: float = 0.0
    encoding: float = 0.0
    client: float = 0.0
    server: float = 0.0


@dataclass(frozen=True)
class ViewState:
    """One text on its way.

    Args:
        protocol: that it runs under.
        engine: that encrypts; ``clear`` does not.
        status: ``idle``, ``running``, ``answered`` or ``failed``.
        activity: what happens now, in a sentence.
        active: who is at work: ``client`` or ``server``.
        tokens: of the text; the client's.
        embeddings: ``(n, d)``; the client's.
        facts: of the plan, which both sides know.
        key_bytes: of this visitor's evaluation keys, once the server has them.
        encoded: plaintexts of the weights done, and of how many.
        key_switches: done, and of how many.
        all_messages: so far, keys first if they crossed this time.
        rounds: of the plan.
        seconds: so far.
        answer: decrypted by the client.
        clear: of the same model without encryption, for comparison.
        error: in words for a reader.
    """

    protocol: str = "client-aided"
    engine: str = "seal"
    status: str = "idle"
    activity: str = ""
    active: str = "client"
    tokens: tuple[str, ...] = ()
    embeddings: Vector | None = None
    facts: Mapping[str, int] | None = None
    key_bytes: int = 0
    encoded: tuple[int, int] = (0, 0)
    key_switches: tuple[int, int] = (0, 0)
    all_messages: tuple[WireMessage, ...] = ()
    rounds: int = 0
    seconds: Seconds = Seconds()
    answer: Prediction | None = None
    clear: Prediction | None = None
    error: str = ""

    @property
    def text_messages(self) -> tuple[WireMessage, ...]:
        """Those of the text, without the keys."""
        return tuple(one for one in self.all_messages if one.name != KEYS)

    def bytes(self, *, up: bool) -> int:
        """That crossed one way for this text."""
        return sum(one.size for one in self.text_messages if one.up is up)


KEYS = "evaluation keys"
