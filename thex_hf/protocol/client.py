"""The client role: holds the secret key, the embedding and the attention mask."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from thex_hf.approximations.activation import relu
from thex_hf.approximations.softmax import cubed_relu, estimate, exact, load_reciprocal
from thex_hf.bounds import check_shown, within
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.shape import ANSWER_LEVEL, BatchLayout, Part
from thex_hf.ckks.engine import AnyVector, ClientEngine, Vector
from thex_hf.ckks.packing.layout import Layout
from thex_hf.errors import InputError, WireError
from thex_hf.prepared.plan import AnyPlan
from thex_hf.protocol.messages import Message
from thex_hf.protocol.result import Result

WORD_BITS = 62
"""A coefficient below this many bits is encoded as one word; larger ones take longer."""


@dataclass
class Conversation(ABC):
    """A client's way through the protocol, whatever it sends.

    Call :meth:`request`, hand its bytes to the server, and feed each message that comes
    back to :meth:`receive`, which returns the next bytes to send, or None when
    :attr:`logits` are known. Messages may be retried: a refused message changes nothing.

    What is refused never depends on what was decrypted, for the server would see it: values that
    no honest run shows are cut, answered like others, and refused by :meth:`check` at the end.
    """

    plan: Plan
    engine: ClientEngine
    key_id: str
    run: str = field(default_factory=lambda: secrets.token_hex(16), kw_only=True)
    step: int = field(default=0, kw_only=True)
    logits: Vector | None = field(default=None, kw_only=True)

    def check(self) -> None:  # noqa: B027
        """Refuse the answer for what was seen on the way; here nothing was."""

    @abstractmethod
    def _inputs(self) -> list[list[bytes]]:
        """The encrypted parts of the request."""

    @abstractmethod
    def _reply(self, part: Part, ciphertexts: list[bytes]) -> list[list[bytes]]:
        """What goes back for one part of a visit, one list for each packing."""

    @abstractmethod
    def _read(self, ciphertexts: list[bytes]) -> Vector:
        """The logits in the answer."""

    def request(self) -> bytes:
        """The first message: the encrypted embeddings."""
        return self._message("request", self._inputs())

    def receive(self, data: bytes) -> bytes | None:
        """Answer a visit, or read the answer.

        Raises:
            WireError, PlanMismatch, KeyMismatch: the message is not the one expected next.
        """
        visits = self.plan.schedule.round_trips
        kind = "visit" if self.step < len(visits) else "answer"
        message = Message.from_bytes(data)
        message.require(kind, self.plan.id, self.key_id)
        if message.run != self.run or message.step != self.step:
            raise WireError(
                f"expected step {self.step} of run {self.run}, got step {message.step} of run "
                f"{message.run}; messages must arrive once and in order"
            )
        if kind == "visit":
            return self._visit(message)
        self._answer(message)
        return None

    def _visit(self, message: Message) -> bytes:
        visit = self.plan.schedule.round_trips[self.step]
        message.require_counts([part.sends.ciphertexts for part in visit.parts])
        parts: list[list[bytes]] = []
        for part, ciphertexts in zip(visit.parts, message.parts, strict=True):
            parts += self._reply(part, ciphertexts)
        self.step += 1
        return self._message("reply", parts, step=self.step - 1)

    def _answer(self, message: Message) -> None:
        answer = self.plan.schedule.answer
        message.require_counts([answer.ciphertexts])
        self.logits = self._read(message.parts[0])

    def _encrypt(self, vectors: Sequence[AnyVector], level: int) -> list[bytes]:
        return [self.engine.encrypt(vector, level) for vector in vectors]

    def _message(self, kind: str, parts: list[list[bytes]], step: int = 0) -> bytes:
        return Message(kind, self.plan.id, self.key_id, self.run, step, parts).to_bytes()


class Talk(Protocol):
    """What :func:`exchange` needs of a client's side; see :class:`Conversation`."""

    plan: Any
    run: str
    logits: Vector | None

    def request(self) -> bytes:
        """The first message."""
        ...

    def receive(self, data: bytes) -> bytes | None:
        """The next message, or None when there are logits."""
        ...

    def check(self) -> None:
        """Refuse the answer for what was seen on the way."""
        ...


def exchange(client: Talk, answer: Callable[[bytes], bytes]) -> Result:
    """Carry messages between the two sides until the client has its logits.

    Args:
        client: its side of one request.
        answer: the server's: what it says to a message.

    Raises:
        RangeError: the client saw values on the way that it cannot believe.
        ThexError: as the two sides raise.
    """
    begin = time.perf_counter()
    waited, sent, received, rounds = 0.0, 0, 0, 0
    message: bytes | None = client.request()
    while message is not None:
        asked = time.perf_counter()
        reply = answer(message)
        waited += time.perf_counter() - asked
        sent, received, rounds = sent + len(message), received + len(reply), rounds + 1
        message = client.receive(reply)
    client.check()  # the server has done its part and sees no difference
    assert client.logits is not None
    spent = time.perf_counter() - begin - waited
    return Result(client.logits, client.plan, rounds, sent, received, spent, waited)


@dataclass
class ClientRun(Conversation):
    """One text's way through the protocol.

    :attr:`logits` are ``(labels,)`` or, where the model classifies tokens, ``(n, labels)``.
    """

    embeddings: Vector  # (n, d), n <= plan.shape.tokens
    largest: float = field(default=0.0, init=False)  # of the values that the server has shown

    def __post_init__(self) -> None:
        check_embeddings(self.plan, self.embeddings)

    def check(self) -> None:
        """Refuse the answer if a value shown on the way came near what the modulus carries.

        To be called when the run is over: the server sees no difference.

        Raises:
            RangeError: one did.
        """
        check_shown(self.largest, self.plan.parameters.room)

    @property
    def mask(self) -> Vector:
        """``(tokens,)``: 1 for true tokens. Never leaves the client."""
        return (np.arange(self.plan.shape.tokens) < len(self.embeddings)).astype(np.float64)

    def _inputs(self) -> list[list[bytes]]:
        padded = np.zeros((self.plan.shape.tokens, self.plan.shape.hidden))
        padded[: len(self.embeddings)] = self.embeddings
        schedule, mask = self.plan.schedule, self.mask[:, None]
        parts = []
        for layout, level in schedule.request:
            assert isinstance(layout, Layout)
            parts.append(self._encrypt(layout.pack(padded[: layout.tokens]), level))
        shares = [mask / len(self.embeddings)] * len(schedule.averaging_masks)
        every = [*shares, *([mask] * len(schedule.token_masks))]
        for token_mask, (layout, level) in zip(
            every, schedule.averaging_masks + schedule.token_masks, strict=True
        ):
            assert isinstance(layout, Layout)
            parts.append(self._encrypt(layout.pack(token_mask.repeat(layout.features, 1)), level))
        return parts

    def _reply(self, part: Part, ciphertexts: list[bytes]) -> list[list[bytes]]:
        if part.op == "renew":
            return self.engine.renew(ciphertexts, part.moves, part.level)
        vectors = [self.engine.decrypt(c, part.level) for c in ciphertexts]
        if part.op != "refresh":
            vectors = [self._believed(vector) for vector in vectors]
        packed = answer_part(part, vectors, self.mask, self.plan.options.get("softmax", ""))
        if part.op != "refresh":
            packed = [[self._encodable(vector) for vector in group] for group in packed]
        return [self._encrypt(v, level) for v, (_, level) in zip(packed, part.returns, strict=True)]

    def _believed(self, vector: Vector) -> Vector:
        """What was shown, cut to what the modulus carries."""
        cut, largest = within(vector, self.plan.parameters.room)
        self.largest = max(self.largest, largest)
        return cut

    def _encodable(self, vector: Vector) -> Vector:
        """What is to be sent, cut so that it fits and takes no longer than other values."""
        most = 2.0 ** (WORD_BITS - self.plan.parameters.scale_bits)
        cut, largest = within(vector, most)
        if largest > most:
            self.largest = float("inf")
        return cut

    def _read(self, ciphertexts: list[bytes]) -> Vector:
        answer = self.plan.schedule.answer
        assert isinstance(answer, Layout)
        rows = answer.unpack([self.engine.decrypt(c, ANSWER_LEVEL) for c in ciphertexts])
        true = rows[: len(self.embeddings)]  # a single row holds what the server has joined
        head = self.plan.shape.head
        logits: Vector = true if head == "tokens" else true.mean(0) if head == "mean" else rows[0]
        return logits


def check_embeddings(plan: AnyPlan, embeddings: Vector) -> None:
    """Refuse embeddings of one text that do not fit the plan.

    Raises:
        InputError: the wrong shape, too many tokens, or numbers that are not finite.
    """
    count, hidden = embeddings.shape
    if hidden != plan.hidden or not 1 <= count <= plan.tokens:
        raise InputError(
            f"expected 1 to {plan.tokens} embeddings of size {plan.hidden}, "
            f"got shape {embeddings.shape}"
        )
    if not np.isfinite(embeddings).all():
        raise InputError("embeddings contain NaN or infinity; check the model's weights")


def answer_part(
    part: Part, vectors: list[Vector], mask: Vector, softmax: str
) -> list[list[Vector]]:
    """Answer one part of a visit.

    Args:
        part: what was sent and how it must come back.
        vectors: its decrypted slots.
        mask: ``(tokens,)``, 1 for true tokens and 0 for padding; only the client knows it.
        softmax: ``exact``, or else the estimate.

    Returns:
        For each returned packing, the slot vectors to encrypt.
    """
    values = part.sends.unpack(vectors)
    if part.op == "softmax":
        values = _softmax(values, mask, softmax)
    elif part.op == "rectify":
        values = cubed_relu(values) * mask
    elif part.op == "relu":
        values = relu(values)
    packed = []
    for layout, _ in part.returns:
        assert not isinstance(layout, BatchLayout)  # their only visits are of the op renew
        vector = values[: layout.tokens] if isinstance(layout, Layout) else values
        packed.append(layout.pack(vector))
    return packed


def _softmax(scores: Vector, mask: Vector, softmax: str) -> Vector:
    if softmax == "exact":
        return exact(scores, mask)
    return estimate(scores, mask, load_reciprocal())


@dataclass
class BatchClientRun(Conversation):
    """Many texts' way through the protocol; :attr:`logits` are ``(texts, labels)``.

    The server learns neither how many texts there are nor how long each is.
    """

    embeddings: Sequence[Vector]  # (n_i, d) each, at most as many as the plan's sentences

    def __post_init__(self) -> None:
        most = int(self.plan.options["sentences"])
        if not 1 <= len(self.embeddings) <= most:
            raise InputError(f"a batch takes 1 to {most} texts, got {len(self.embeddings)}")
        for text in self.embeddings:
            check_embeddings(self.plan, text)

    def _inputs(self) -> list[list[bytes]]:
        shape, schedule = self.plan.shape, self.plan.schedule
        most = int(self.plan.options["sentences"])
        padded = np.zeros((most, shape.tokens, shape.hidden))
        share = np.zeros((most, shape.tokens, 1))
        for index, text in enumerate(self.embeddings):
            padded[index, : len(text)] = text
            share[index, : len(text)] = 1.0 / len(text)
        contents = [padded] * len(schedule.request) + [share] * len(schedule.averaging_masks)
        parts = []
        for values, (layout, level) in zip(contents, schedule.inputs, strict=True):
            assert isinstance(layout, BatchLayout)
            parts.append(self._encrypt(layout.pack(values), level))
        return parts

    def _reply(self, part: Part, ciphertexts: list[bytes]) -> list[list[bytes]]:
        return self.engine.renew(ciphertexts, part.moves, part.level)

    def _read(self, ciphertexts: list[bytes]) -> Vector:
        answer = self.plan.schedule.answer
        assert isinstance(answer, BatchLayout)
        vectors = [self.engine.decrypt(c, ANSWER_LEVEL) for c in ciphertexts]
        return answer.unpack(vectors)[: len(self.embeddings), 0]
