"""The client's side of the prepared protocol: it prepares batches of tickets, and spends them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.ckks.engine import Vector
from thex_hf.errors import RangeError, WireError
from thex_hf.prepared.jobs import Job
from thex_hf.prepared.masks import ticket_seed
from thex_hf.prepared.online import ClientShares
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.prepared.preparing import ClientCipher, ClientPreparation
from thex_hf.prepared.wire import BATCH_BYTES, dumped, loaded, preparation_id, write_name
from thex_hf.protocol.client import check_embeddings
from thex_hf.protocol.messages import Message

MOST_LOGIT = 4096.0
"""Logits beyond this come of a number that wrapped around: one text in 10**4 to 10**5 has any."""

WRAPS = 1
"""Of a text in a row, after which another ticket is taken; one more, and the text is refused."""


@dataclass(frozen=True)
class Ticket:
    """What serves one text, once.

    Args:
        batch: name of its batch.
        number: in the batch.
        seed: of the masks that the client draws.
        row: see :class:`~thex_hf.prepared.rows.RowLayout`.
        bytes_up: sent when it was prepared: its share of the batch's.
        bytes_down: received.
    """

    batch: bytes
    number: int
    seed: bytes = field(repr=False)
    row: Words = field(repr=False)
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass
class PreparedClientRun:
    """One text's way through the protocol; see :class:`thex_hf.protocol.client.Conversation`.

    The ticket must have been marked as spent before.

    Raises:
        InputError: embeddings that do not fit the plan.
    """

    plan: PreparedPlan
    key_id: str
    ticket: Ticket
    embeddings: Vector
    run: str = field(default_factory=lambda: secrets.token_hex(16))
    step: int = field(init=False, default=0)
    logits: Vector | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        check_embeddings(self.plan, self.embeddings)
        plan, ticket = self.plan, self.ticket
        self._shares = ClientShares(plan.network, plan.numbers, ticket.seed, ticket.row)

    def request(self) -> bytes:
        """The first message: the ticket's name, and masked numbers."""
        arrays = self._shares.start(np.asarray(self.embeddings, np.float64))
        name = write_name(self.ticket.batch, self.ticket.number)
        return self._message("request", [name, dumped(arrays)], 0)

    def receive(self, data: bytes) -> bytes | None:
        """Answer what the server reveals, or read the answer.

        Raises:
            WireError, PlanMismatch, KeyMismatch: the message is not the one expected next.
        """
        last = self.step == len(self.plan.network.rounds)
        message = Message.from_bytes(data)
        message.require("answer" if last else "visit", self.plan.id, self.key_id)
        if (message.run, message.step) != (self.run, self.step):
            raise WireError(
                f"expected step {self.step} of run {self.run}, got step {message.step} of run "
                f"{message.run}; messages must arrive once and in order"
            )
        message.require_lists(1)
        arrays = loaded(message.parts[0], self._shares.expected, self.plan.numbers)
        if last:
            rows = self._shares.read(arrays)
            self.logits = read_rows(self.plan, rows, len(self.embeddings))
            return None
        self.step += 1
        return self._message("reply", [dumped(self._shares.answer(arrays))], self.step - 1)

    def check(self) -> None:
        """Refuse an answer in which a number wrapped around.

        Raises:
            RangeError: one did, or the text is unlike all that the model knows.
        """
        assert self.logits is not None
        check_wrapped(self.logits, overflown=self._shares.overflown)

    def _message(self, kind: str, parts: list[list[bytes]], step: int) -> bytes:
        return Message(kind, self.plan.id, self.key_id, self.run, step, parts).to_bytes()


def read_rows(plan: PreparedPlan, rows: Vector, tokens: int) -> Vector:
    """The logits ``(labels,)``, or ``(tokens, labels)`` where each token is classified."""
    return rows[:tokens] if plan.sizes.head == "tokens" else rows[0]


def check_wrapped(logits: Vector, *, overflown: bool = False) -> None:
    """Refuse logits that no calibrated model has.

    Args:
        logits: of a text.
        overflown: whether something that the client computed on the way was cut.

    Raises:
        RangeError: a number wrapped around, or the text is unlike all that the model knows.
    """
    largest = float(np.abs(logits).max()) if not overflown else float("inf")
    if largest > MOST_LOGIT:
        raise RangeError(
            f"logits should stay below {MOST_LOGIT:.0f}, and one of {largest:.2g} came: a number "
            f"inside wrapped around the modulus. What to do: send the text again; if it happens "
            f"twice, fhe='disable' tells whether the clear model knows the text"
        )


@dataclass
class Preparing:
    """Prepares one batch with a server.

    Args:
        plan: of the tickets.
        key_id: of the client's keys.
        cipher: that holds the secret key.
        answer: sends a message of a run, given its name, and returns the server's.
    """

    plan: PreparedPlan
    key_id: str
    cipher: ClientCipher = field(repr=False)
    answer: Callable[[bytes, str], bytes] = field(repr=False)
    bytes_up: int = field(init=False, default=0)
    bytes_down: int = field(init=False, default=0)

    def open(self) -> bytes:
        """A new batch at the server: its name.

        Raises:
            ThexError: as the server says.
            WireError: it answers something else.
        """
        (part,) = self._exchange(secrets.token_hex(16), "request", 0, []).parts
        if [len(name) for name in part] != [BATCH_BYTES]:
            raise WireError(f"expected the name of a batch, {BATCH_BYTES} bytes, got {part!r:.60}")
        return part[0]

    def run(self, batch: bytes, seed: bytes, rows: Words, jobs: Iterable[int]) -> Iterable[int]:
        """Run some jobs of a batch; yields the ciphertexts of each step, up and down together.

        Args:
            batch: its name.
            seed: of the client's masks.
            rows: ``(tickets, numbers)``, written to.
            jobs: their numbers. Jobs of products come after all jobs of linear maps.

        Raises:
            ThexError: as the server and the wire raise; the job has to begin anew then.
        """
        plan = self.plan
        seeds = [ticket_seed(seed, ticket) for ticket in range(plan.batch.tickets)]
        half = ClientPreparation(plan.batch, plan.numbers, self.cipher, seeds, rows)
        for number in jobs:
            yield from self._job(batch, number, plan.batch.jobs[number], half)

    def _job(self, batch: bytes, number: int, job: Job, half: ClientPreparation) -> Iterable[int]:
        run, name = secrets.token_hex(16), write_name(batch, number)
        for step, chunk in enumerate(job.chunks):
            sent = half.inputs(job, chunk)
            parts = [sent] if step else [name, sent]
            message = self._exchange(run, "reply" if step else "request", max(0, step - 1), parts)
            last = step == len(job.chunks) - 1
            message.require(
                "answer" if last else "visit", preparation_id(self.plan.id), self.key_id
            )
            if (message.run, message.step) != (run, step):
                raise WireError(f"expected step {step} of run {run}, got step {message.step}")
            message.require_counts([chunk.down])
            half.take(job, chunk, message.parts[0])
            yield chunk.up + chunk.down

    def _exchange(self, run: str, kind: str, step: int, parts: list[list[bytes]]) -> Message:
        plan = preparation_id(self.plan.id)
        data = Message(kind, plan, self.key_id, run, step, parts).to_bytes()
        reply = self.answer(data, run)
        self.bytes_up += len(data)
        self.bytes_down += len(reply)
        return Message.from_bytes(reply)
