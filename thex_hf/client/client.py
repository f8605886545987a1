"""A client: keys, embeddings, and the conversation with a server; no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thex_hf.bounds import check_room
from thex_hf.ckks.engine import Vector
from thex_hf.client.exchange import Call, Caller
from thex_hf.client.half import ClientHalf
from thex_hf.client.scores import best
from thex_hf.client.transport import Transport


@dataclass(frozen=True)
class Answer:
    """One text's label, its score, and what they cost.

    Args:
        label: of the best logit; of a classifier of tokens, theirs in order, joined by blanks.
        score: its probability, or the number itself of a regression; of tokens, the lowest.
        tokens: of the text; the server learns the plan's bucket only.
        call: logits and costs.
    """

    label: str
    score: float
    tokens: int
    call: Call

    @property
    def logits(self) -> Vector:
        """``(labels,)``, or ``(n, labels)`` of a classifier of tokens."""
        return self.call.logits

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        call = self.call
        return {
            "label": self.label,
            "score": self.score,
            "logits": call.logits.tolist(),
            "tokens": self.tokens,
            "bucket": call.plan.shape.tokens,
            "protocol": call.plan.protocol,
            "backend": "remote",
            "fhe": "execute",
            "levels": call.plan.facts.levels,
            "key_switches": 0,  # the server's affair
            "rounds": call.rounds,
            "seconds": {
                "keygen": call.keygen_seconds,
                "prepare": 0.0,
                "client": call.client_seconds,
                "server": call.server_seconds,
            },
            "bytes": {"keys": call.key_bytes, "up": call.bytes_up, "down": call.bytes_down},
        }


@dataclass(eq=False)
class ThexClient:
    """Classifies texts on a server that never sees them.

    Args:
        half: tokenizer and embeddings of the model.
        server: what carries the bytes, see :class:`thex_hf.client.http.HttpTransport`.
        keys: directory to keep keys in; in memory if None.
        backend: engine that encrypts; the server's must be the same.
        protocol: that the server should run; None: whatever it does.

    Raises:
        ConversionError: the half does not say which encoder it belongs to.
        WireError: the server's plans are none, or of another version.
        PlanMismatch: they are of another model or number of labels, or not all of one.
        OptionError: the server runs another protocol.
        SecurityError: the server asks for parameters below 128 bits, or for another engine.
    """

    half: ClientHalf
    server: Transport
    keys: Path | None = None
    backend: str = "seal"
    protocol: str | None = None
    caller: Caller = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Ask the server for its plans."""
        self.caller = Caller(self.server, self.keys, self.backend, wanted=self.protocol)
        self.caller.check(self.half.own)

    def check(self, text: str, pair: str | None = None) -> None:
        """Refuse a text that cannot be classified; nothing is sent.

        Raises:
            InputError: no text, or one that no bucket of the server takes.
        """
        ids, _ = self.half.tokenise(text, pair)
        self.caller.plan(len(ids))

    def classify(self, text: str, pair: str | None = None) -> Answer:
        """Tokenise, embed, encrypt, answer the server's visits, decrypt.

        Raises:
            InputError: no text, or one that no bucket of the server takes.
            ThexError: as the server and the protocol raise.
        """
        embeddings = self.half.embed(*self.half.tokenise(text, pair))
        call = self.caller.run(embeddings)
        check_room(self.half.config.get("calibration"), call.plan.parameters.room)
        found = best(call.logits, self.half.config)
        rows = found.get("tokens", [found])
        label = " ".join(str(row["label"]) for row in rows)
        return Answer(label, min(float(row["score"]) for row in rows), len(embeddings), call)
