"""A client: keys, embeddings, and the conversation with a server; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thex_hf.bounds import check_room
from thex_hf.ckks.engine import Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.client.exchange import Client
from thex_hf.client.half import ClientHalf
from thex_hf.client.plans import ServerPlans
from thex_hf.client.scores import best
from thex_hf.client.transport import Transport
from thex_hf.errors import TextError
from thex_hf.protocol.result import Result, result_of


@dataclass(frozen=True)
class Answer:
    """One text's label, its score, and what they cost.

    Args:
        label: of the best logit; of a classifier of tokens, theirs in order, joined by blanks.
        score: its probability, or the number itself of a regression; of tokens, the lowest.
        tokens: of the text; the server learns the plan's bucket only.
        result: logits and costs.
        protocol: the server's.
    """

    label: str
    score: float
    tokens: int
    result: Result
    protocol: str

    @property
    def logits(self) -> Vector:
        """``(labels,)``, or ``(n, labels)`` of a classifier of tokens."""
        return self.result.logits

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        result, facts = self.result, self.result.plan.facts
        told = {
            "label": self.label,
            "score": self.score,
            "logits": result.logits.tolist(),
            "tokens": self.tokens,
            "bucket": facts.bucket,
            "protocol": self.protocol,
            "backend": "remote",
            "fhe": "execute",
            "levels": facts.levels,
            "key_switches": 0,  # the server's affair
            "rounds": result.rounds,
            "seconds": {
                "keygen": result.keygen_seconds,
                "prepare": result.prepare_seconds,
                "client": result.client_seconds,
                "server": result.server_seconds,
            },
            "bytes": {"keys": result.key_bytes, "up": result.bytes_up, "down": result.bytes_down},
        }
        if result.tickets_left is not None:
            told |= {"tickets": result.tickets_left, "wraps": result.wraps}
            told["bytes"] |= {
                "prepare_up": result.prepare_bytes_up,
                "prepare_down": result.prepare_bytes_down,
            }
        return told


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
    client: Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Ask the server for its plans."""
        self.client = Client(self.server, self.keys, self.backend, wanted=self.protocol)
        if isinstance(self.client.plans, ServerPlans):
            self.client.plans.check(self.half.facts)
            longest = max(self.half.longest, self.client.plans.longest)
            self.half = replace(self.half, longest=longest)

    def check(self, text: str, pair: str | None = None) -> None:
        """Refuse a text that cannot be classified; nothing is sent.

        Raises:
            InputError: no text, or one that no bucket of the server takes.
        """
        ids, _ = self.half.tokenise(text, pair)
        self.client.plan(len(ids))

    def classify(self, text: str, pair: str | None = None) -> Answer:
        """Tokenise, embed, encrypt, answer the server's visits, decrypt.

        Raises:
            InputError: no text, or one that no bucket of the server takes.
            ThexError: as the server and the protocol raise.
        """
        embeddings = self.half.embed(*self.half.tokenise(text, pair))
        return self._answer(self.client.run(embeddings), len(embeddings))

    def classify_many(self, texts: Sequence[str]) -> list[Answer | TextError]:
        """Classify several texts, some at once, and in one request where the server takes that.

        Returns:
            In the order of the texts an answer, or the error of a text that cannot be served.

        Raises:
            InputError: no text, or one that no bucket of the server takes: nothing is sent.
            ThexError: as the server and the protocol raise, if it is about more than one text.
        """
        embedded = [self.half.embed(*self.half.tokenise(text)) for text in texts]
        answers: list[Answer | TextError] = []
        for embeddings, outcome in zip(embedded, self.client.run_many(embedded), strict=True):
            try:
                answers.append(self._answer(result_of(outcome), len(embeddings)))
            except TextError as error:
                answers.append(error)
        return answers

    def _answer(self, result: Result, tokens: int) -> Answer:
        """What the logits say. Raises RangeError: they must not be believed."""
        parameters = getattr(result.plan, "parameters", None)
        if isinstance(parameters, Parameters):  # of a circuit on slots
            check_room(self.half.config.get("calibration"), parameters.room)
        answer = best(result.logits, self.half.config)
        rows = answer.get("tokens", [answer])
        label = " ".join(str(row["label"]) for row in rows)
        score = min(float(row["score"]) for row in rows)
        return Answer(label, score, tokens, result, self.client.protocol)
