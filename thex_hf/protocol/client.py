"""The client role: holds the secret key, the embedding and the attention mask."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

import numpy as np

from thex_hf.encrypted.answers import answer_part
from thex_hf.encrypted.plan import Plan
from thex_hf.errors import InputError, WireError
from thex_hf.layout.engines import ClientEngine, Vector
from thex_hf.layout.layout import Layout
from thex_hf.protocol.messages import Message


@dataclass
class ClientRun:
    """One text's way through the protocol.

    Call :meth:`request`, hand its bytes to the server, and feed each message that comes
    back to :meth:`receive`, which returns the next bytes to send, or None when
    :attr:`logits` are known. Messages may be retried: a refused message changes nothing.
    """

    plan: Plan
    engine: ClientEngine
    key_id: str
    embeddings: Vector  # (n, d), n <= plan.shape.tokens
    run: str = field(default_factory=lambda: secrets.token_hex(16))
    step: int = 0
    seconds: float = 0.0
    logits: Vector | None = None

    def __post_init__(self) -> None:
        count, hidden = self.embeddings.shape
        shape = self.plan.shape
        if hidden != shape.hidden or not 1 <= count <= shape.tokens:
            raise InputError(
                f"expected 1 to {shape.tokens} embeddings of size {shape.hidden}, "
                f"got shape {self.embeddings.shape}"
            )
        if not np.isfinite(self.embeddings).all():
            raise InputError("embeddings contain NaN or infinity; check the model's weights")

    @property
    def mask(self) -> Vector:
        """``(tokens,)``: 1 for true tokens. Never leaves the client."""
        return (np.arange(self.plan.shape.tokens) < len(self.embeddings)).astype(np.float64)

    def request(self) -> bytes:
        """The first message: the encrypted embeddings."""
        start = time.perf_counter()
        padded = np.zeros((self.plan.shape.tokens, self.plan.shape.hidden))
        padded[: len(self.embeddings)] = self.embeddings
        parts = []
        for layout, level in self.plan.schedule.request:
            assert isinstance(layout, Layout)
            parts.append(self._encrypt(layout.pack(padded[: layout.tokens]), level))
        data = self._message("request", parts)
        self.seconds += time.perf_counter() - start
        return data

    def receive(self, data: bytes) -> bytes | None:
        """Answer a visit, or read the answer.

        Raises:
            WireError, PlanMismatch, KeyMismatch: the message is not the one expected next.
        """
        start = time.perf_counter()
        visits = self.plan.schedule.visits
        kind = "visit" if self.step < len(visits) else "answer"
        message = Message.from_bytes(data)
        message.require(kind, self.plan.id, self.key_id)
        if message.run != self.run or message.step != self.step:
            raise WireError(
                f"expected step {self.step} of run {self.run}, got step {message.step} of run "
                f"{message.run}; messages must arrive once and in order"
            )
        reply = None
        if kind == "visit":
            reply = self._visit(message)
        else:
            self._answer(message)
        self.seconds += time.perf_counter() - start
        return reply

    def _visit(self, message: Message) -> bytes:
        visit = self.plan.schedule.visits[self.step]
        message.require_counts([part.sends.ciphertexts for part in visit.parts])
        mask = self.mask
        parts: list[list[bytes]] = []
        for part, ciphertexts in zip(visit.parts, message.parts, strict=True):
            vectors = [self.engine.decrypt(c) for c in ciphertexts]
            packed = answer_part(part, vectors, mask, self.plan.softmax)
            parts += [
                self._encrypt(v, level) for v, (_, level) in zip(packed, part.returns, strict=True)
            ]
        self.step += 1
        return self._message("reply", parts, step=self.step - 1)

    def _answer(self, message: Message) -> None:
        answer = self.plan.schedule.answer
        message.require_counts([answer.ciphertexts])
        vectors = [self.engine.decrypt(c) for c in message.parts[0]]
        self.logits = answer.unpack(vectors)[0]

    def _encrypt(self, vectors: list[Vector], level: int) -> list[bytes]:
        return [self.engine.encrypt(vector, level) for vector in vectors]

    def _message(self, kind: str, parts: list[list[bytes]], step: int = 0) -> bytes:
        return Message(kind, self.plan.id, self.key_id, self.run, step, parts).to_bytes()
