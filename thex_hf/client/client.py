"""A client: keys, embeddings, and the conversation with a server; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from thex_hf.bounds import check_room
from thex_hf.ckks.engine import Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.client.exchange import Client
from thex_hf.client.half import ClientHalf, Ids, arrays
from thex_hf.client.plans import ServerPlans
from thex_hf.client.scores import best
from thex_hf.client.transport import Transport
from thex_hf.errors import TextError
from thex_hf.protocol.result import Outcome, Result, joined, result_of
from thex_hf.tokens.windows import Cut, WindowOptions, cut

_Part: TypeAlias = tuple[Ids, Ids]
"""Token ids and segments of a text, or of a window."""


@dataclass(frozen=True)
class Answer:
    """One text's label, its score, and what they cost.

    Args:
        label: of the best logit; of a classifier of tokens, theirs in order, joined by blanks.
        score: its probability, or the number itself of a regression; of tokens, the lowest.
        tokens: of the text; the server learns the plan's bucket only.
        result: logits and costs.
        protocol: the server's.
        windows: answers to the windows of a text that was cut into some, whose costs the result
            has in all; None: it was classified as a whole.
    """

    label: str
    score: float
    tokens: int
    result: Result
    protocol: str
    windows: tuple[Answer, ...] | None = None

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
        if self.windows is not None:
            told["windows"] = [answer._as_window() for answer in self.windows]
        return told

    def _as_window(self) -> dict[str, Any]:
        return {
            "tokens": self.tokens,
            "bucket": self.result.plan.facts.bucket,
            "logits": self.logits.tolist(),
            "key_bytes": self.result.key_bytes,
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
        windows: how long texts are cut, each window a request; None: they are refused.

    Raises:
        ConversionError: the half does not say which encoder it belongs to.
        WireError: the server's plans are none, or of another version.
        PlanMismatch: they are of another model or number of labels, or not all of one.
        OptionError: the server runs another protocol, or takes no such windows.
        SecurityError: the server asks for parameters below 128 bits, or for another engine.
    """

    half: ClientHalf
    server: Transport
    keys: Path | None = None
    backend: str = "seal"
    protocol: str | None = None
    windows: WindowOptions | None = None
    client: Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Ask the server for its plans."""
        self.client = Client(self.server, self.keys, self.backend, wanted=self.protocol)
        if isinstance(self.client.plans, ServerPlans):
            self.client.plans.check(self.half.facts)
            longest = max(self.half.longest, self.client.plans.longest)
            self.half = replace(self.half, longest=longest)
        if self.windows is not None:
            limit = self.half.limit
            if isinstance(self.client.plans, ServerPlans):
                limit = min(limit, self.client.plans.longest)
            self.windows.check(limit, self.half.special, number=self.half.number)

    def check(self, text: str, pair: str | None = None) -> None:
        """Refuse a text that cannot be classified; nothing is sent.

        Raises:
            InputError: no text, or one that no bucket of the server takes.
        """
        for ids, _ in self._parts(text, pair)[1]:
            self.client.plan(len(ids))

    def classify(self, text: str, pair: str | None = None) -> Answer:
        """Tokenise, embed, encrypt, answer the server's visits, decrypt.

        Raises:
            InputError: no text, or one that no bucket of the server takes.
            ThexError: as the server and the protocol raise.
        """
        found, parts = self._parts(text, pair)
        outcomes: list[Outcome] = []
        for part in parts:
            try:
                outcomes.append(self.client.run(self.half.embed(*part)))
            except TextError as error:
                outcomes.append(error)
                break
        return self._whole(found, outcomes, parts)

    def classify_many(self, texts: Sequence[str]) -> list[Answer | TextError]:
        """Classify several texts, some at once, and in one request where the server takes that.

        Returns:
            In the order of the texts an answer, or the error of a text that cannot be served.

        Raises:
            InputError: no text, or one that no bucket of the server takes: nothing is sent.
            ThexError: as the server and the protocol raise, if it is about more than one text.
        """
        entries = [self._parts(text) for text in texts]
        embedded = [self.half.embed(*part) for _, parts in entries for part in parts]
        outcomes = iter(self.client.run_many(embedded))
        answers: list[Answer | TextError] = []
        for found, parts in entries:
            own = [next(outcomes) for _ in parts]
            try:
                answers.append(self._whole(found, own, parts))
            except TextError as error:
                answers.append(error)
        return answers

    def _parts(self, text: str, pair: str | None = None) -> tuple[Cut | None, list[_Part]]:
        """The windows of a text, if it is to be cut; and what each is read as, or the text."""
        if self.windows is None:
            return None, [self.half.tokenise(text, pair)]
        words_of = [text, pair or ""] if self.half.every_token else None
        found = cut(self.half.read(text, pair), self.windows, words_of)
        return found, [arrays(window.tokens) for window in found.windows]

    def _whole(
        self, found: Cut | None, outcomes: Sequence[Outcome], parts: Sequence[_Part]
    ) -> Answer:
        """The answer to a text. Raises TextError: that of its first window without an answer."""
        answers: list[Answer] = []
        for number, (outcome, (ids, _)) in enumerate(zip(outcomes, parts, strict=False), 1):
            try:
                answers.append(self._answer(result_of(outcome), len(ids)))
            except TextError as error:
                if found is None or len(parts) == 1:
                    raise
                raise found.failed(number, error) from error
        if found is None:
            return answers[0]
        logits = found.pooled([answer.logits for answer in answers])
        result = joined([answer.result for answer in answers], logits)
        return replace(self._answer(result, len(found.tokens)), windows=tuple(answers))

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
