"""The server's side of the prepared protocol: it prepares batches of tickets, and spends them.

Messages are those of every protocol. A preparation is a run of its own for each job, under the
plan's second id; a text is a run under the plan's id, and its request names a ticket.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import PlanMismatch, TicketError, WireError
from thex_hf.prepared.jobs import Job
from thex_hf.prepared.masks import SEED_BYTES, ticket_seed
from thex_hf.prepared.online import ServerShares
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.prepared.preparing import ServerCipher, ServerPreparation
from thex_hf.prepared.wire import BATCH_BYTES, dumped, loaded, preparation_id, read_name
from thex_hf.protocol.messages import Message

MOST_BATCHES = 64
"""Under one key file at once; the one with the fewest tickets left goes for one more."""


@dataclass
class IssuedBatch:
    """A batch of tickets as the server keeps it: seeds and marks, nothing else.

    Args:
        id: 16 bytes that name it.
        plan: id of the plan.
        keys: of the client, as the server names them.
        tickets: how many.
        seed: of all masks.
        attempts: how often each job was begun, by its number.
        spent: tickets that were used.
    """

    id: bytes
    plan: str
    keys: str
    tickets: int
    seed: bytes = field(repr=False)
    attempts: dict[int, int] = field(default_factory=dict)
    spent: set[int] = field(default_factory=set)
    made: float = 0.0

    @property
    def left(self) -> int:
        """Tickets that are not spent."""
        return self.tickets - len(self.spent)


@dataclass(frozen=True)
class TicketCounts:
    """What a ledger keeps.

    Args:
        batches: of all owners.
        left: tickets that are not spent.
        spent: tickets that are.
        jobs: of preparation that were begun.
    """

    batches: int
    left: int
    spent: int
    jobs: int


class TicketLedger(Protocol):
    """Where a server keeps the batches of its clients. What it returns has been written down."""

    @property
    def most_batches(self) -> int:
        """Under one key file; then the one with the fewest tickets left goes for one more."""
        ...

    @property
    def seconds(self) -> float:
        """After which a batch expires; infinite: never."""
        ...

    def open(self, owner: str, plan: str, keys: str, tickets: int) -> IssuedBatch:
        """A new batch."""
        ...

    def get(self, owner: str, batch: bytes) -> IssuedBatch:
        """A batch. Raises TicketError: the owner has none of that name."""
        ...

    def begin(self, owner: str, batch: bytes, job: int) -> int:
        """Count one more attempt at a job: its number, from 1. Raises as :meth:`get`."""
        ...

    def spend(self, owner: str, batch: bytes, ticket: int) -> IssuedBatch:
        """Mark a ticket as spent, for good. Raises TicketError: unknown, or spent before."""
        ...

    def forget(self, owner: str, keys: str) -> int:
        """Drop an owner's batches under some keys; how many."""
        ...

    def sweep(self) -> int:
        """Drop what has expired; how many batches."""
        ...

    def counts(self) -> TicketCounts:
        """What is kept."""
        ...


@dataclass
class MemoryLedger:
    """A ledger in memory; with the process go all tickets.

    Args:
        most_batches: under one key file.
        clock: seconds.
        seconds: after which a batch expires.
    """

    most_batches: int = MOST_BATCHES
    clock: Callable[[], float] = time.time
    seconds: float = math.inf
    _batches: dict[tuple[str, bytes], IssuedBatch] = field(default_factory=dict, repr=False)

    def open(self, owner: str, plan: str, keys: str, tickets: int) -> IssuedBatch:
        """A new batch; if there are too many, the one with the fewest tickets left goes."""
        held = self._batches.items()
        same = [key for key, batch in held if key[0] == owner and batch.keys == keys]
        same.sort(key=lambda key: self._batches[key].left)
        for key in same[: max(0, len(same) + 1 - self.most_batches)]:
            del self._batches[key]
        batch = new_batch(plan, keys, tickets, self.clock())
        self._batches[owner, batch.id] = batch
        return batch

    def get(self, owner: str, batch: bytes) -> IssuedBatch:
        """A batch."""
        found = self._batches.get((owner, batch))
        if found is None or self._expired(found):
            raise no_batch(batch)
        return found

    def begin(self, owner: str, batch: bytes, job: int) -> int:
        """Count an attempt."""
        attempts = self.get(owner, batch).attempts
        attempts[job] = attempts.get(job, 0) + 1
        return attempts[job]

    def spend(self, owner: str, batch: bytes, ticket: int) -> IssuedBatch:
        """Mark a ticket."""
        issued = self.get(owner, batch)
        if ticket in issued.spent:
            raise spent(batch, ticket)
        issued.spent.add(ticket)
        return issued

    def forget(self, owner: str, keys: str) -> int:
        """Drop batches."""
        held = self._batches.items()
        old = [key for key, batch in held if key[0] == owner and batch.keys == keys]
        for key in old:
            del self._batches[key]
        return len(old)

    def sweep(self) -> int:
        """Drop what has expired; how many batches."""
        old = [key for key, batch in list(self._batches.items()) if self._expired(batch)]
        return sum(self._batches.pop(key, None) is not None for key in old)

    def _expired(self, batch: IssuedBatch) -> bool:
        return self.clock() >= batch.made + self.seconds

    def counts(self) -> TicketCounts:
        """What is kept."""
        kept = list(self._batches.values())
        left, used = sum(batch.left for batch in kept), sum(len(batch.spent) for batch in kept)
        jobs = sum(sum(batch.attempts.values()) for batch in kept)
        return TicketCounts(len(kept), left, used, jobs)


def new_batch(plan: str, keys: str, tickets: int, now: float) -> IssuedBatch:
    """A batch with a name and a seed of its own."""
    name, seed = secrets.token_bytes(BATCH_BYTES), secrets.token_bytes(SEED_BYTES)
    return IssuedBatch(name, plan, keys, tickets, seed, made=now)


def no_batch(batch: bytes) -> TicketError:
    """A batch is not in a ledger."""
    return TicketError(
        f"there is no batch of tickets {batch.hex()} under this owner; it has expired or was made "
        f"by another server: prepare new tickets"
    )


def spent(batch: bytes, ticket: int) -> TicketError:
    """A ticket was used before."""
    return TicketError(
        f"ticket {ticket} of batch {batch.hex()} is spent: a ticket serves one text; take another"
    )


@dataclass
class _Run:
    """What both kinds of runs have in common.

    Args:
        plan: of the protocol.
        ledger: of the tickets.
        owner: of the keys.
        keys: of the client, as the server names them.
        key_id: of the same, as messages name it.
    """

    plan: PreparedPlan
    ledger: TicketLedger
    owner: str
    keys: str
    key_id: str
    finished: bool = field(init=False, default=False)
    _run: str = field(init=False, default="")
    _step: int = field(init=False, default=0)

    def _first(self, data: bytes | Message, plan: str) -> Message:
        if self._run:
            raise WireError("this run has started; a new request needs a new run")
        message = Message.of(data)
        message.require("request", plan, self.key_id)
        return message

    def _next(self, data: bytes | Message, plan: str) -> Message:
        if not self._run or self.finished:
            raise WireError("no reply is expected: the run has not started or is finished")
        message = Message.of(data)
        message.require("reply", plan, self.key_id)
        if message.run != self._run or message.step != self._step:
            raise WireError(
                f"expected the reply to step {self._step} of this run, got step {message.step}"
            )
        message.require_lists(1)
        return message

    def _send(self, plan: str, part: list[bytes]) -> bytes:
        kind = "answer" if self.finished else "visit"
        return Message(kind, plan, self.key_id, self._run, self._step, [part]).to_bytes()

    def _batch(self, batch: bytes) -> IssuedBatch:
        issued = self.ledger.get(self.owner, batch)
        if (issued.plan, issued.keys) != (self.plan.id, self.keys):
            raise PlanMismatch(
                f"batch {batch.hex()} of tickets was prepared for another plan or other keys; "
                f"take tickets of plan {self.plan.id}"
            )
        return issued

    def _attempts(self, issued: IssuedBatch) -> dict[str, int]:
        return {name: issued.attempts.get(job, 0) for name, job in self.plan.batch.job_of.items()}


class PreparedServerRun(_Run):
    """One text: spends a ticket, then answers on shares."""

    _shares: ServerShares

    def start(self, data: bytes | Message) -> bytes:
        """Take a request; the ticket is marked before anything is computed.

        Raises:
            WireError, PlanMismatch, KeyMismatch: the request is malformed or foreign; the ticket
                stays good.
            TicketError: the ticket is spent, unknown, or not prepared to the end.
        """
        message = self._first(data, self.plan.id)
        message.require_lists(2)
        batch, number = read_name(message.parts[0])
        issued = self._batch(batch)
        if number >= issued.tickets:
            raise TicketError(f"batch {batch.hex()} has {issued.tickets} tickets, not {number + 1}")
        if len(issued.attempts) < len(self.plan.batch.jobs):
            raise TicketError(f"batch {batch.hex()} is not prepared to the end: finish it first")
        arrays = loaded(message.parts[1], self.plan.network.requested, self.plan.numbers)
        issued = self.ledger.spend(self.owner, batch, number)
        self._run = message.run
        self._shares = ServerShares(
            self.plan.network,
            self.plan.numbers,
            ticket_seed(issued.seed, number),
            self._attempts(issued),
        )
        return self._answered(self._shares.start(arrays))

    def reply(self, data: bytes | Message) -> bytes:
        """Take the client's shares of a round's products.

        Raises:
            WireError, PlanMismatch, KeyMismatch: not the reply expected next; nothing changes.
        """
        message = self._next(data, self.plan.id)
        arrays = loaded(message.parts[0], self._shares.expected, self.plan.numbers)
        self._step += 1
        return self._answered(self._shares.take(arrays))

    def _answered(self, arrays: Sequence[Words]) -> bytes:
        self.finished = self._shares.finished
        return self._send(self.plan.id, dumped(arrays))


@dataclass
class PreparationRun(_Run):
    """A new batch, or one job of a batch.

    Args:
        cipher: that computes under the client's keys.
    """

    cipher: ServerCipher = field(kw_only=True, repr=False)
    _preparation: ServerPreparation | None = field(init=False, default=None, repr=False)
    _job: Job | None = field(init=False, default=None, repr=False)

    @property
    def _plan_id(self) -> str:
        return preparation_id(self.plan.id)

    def start(self, data: bytes | Message) -> bytes:
        """Open a batch, where nothing is sent; or begin a job of one with its first ciphertexts.

        Raises:
            WireError, PlanMismatch, KeyMismatch: the request is malformed or foreign.
            TicketError: no such batch.
        """
        message = self._first(data, self._plan_id)
        if not message.parts:
            self._run, self.finished = message.run, True
            batch = self.plan.batch
            issued = self.ledger.open(self.owner, self.plan.id, self.keys, batch.tickets)
            return self._send(self._plan_id, [issued.id])
        message.require_lists(2)
        name, number = read_name(message.parts[0])
        issued = self._batch(name)
        jobs = self.plan.batch.jobs
        if number >= len(jobs):
            raise WireError(f"expected one of {len(jobs)} jobs, got number {number + 1}")
        job = jobs[number]
        self._check(job, message.parts[1])
        attempt = self.ledger.begin(self.owner, name, number)
        seeds = [ticket_seed(issued.seed, ticket) for ticket in range(issued.tickets)]
        # this attempt and no later one: two runs of one job must not share a mask
        attempts = {step: attempt for step, of in self.plan.batch.job_of.items() if of == number}
        self._preparation = ServerPreparation(
            self.plan.batch, self.plan.numbers, self.cipher, seeds, attempts
        )
        self._job, self._run = job, message.run
        return self._advance(message.parts[1])

    def reply(self, data: bytes | Message) -> bytes:
        """Take the next ciphertexts of a job.

        Raises:
            WireError, PlanMismatch, KeyMismatch: not the reply expected next; nothing changes.
        """
        message = self._next(data, self._plan_id)
        assert self._job is not None
        self._step += 1
        try:
            self._check(self._job, message.parts[0])
            return self._advance(message.parts[0])
        except WireError:
            self._step -= 1
            raise

    def _check(self, job: Job, data: list[bytes]) -> None:
        expected = job.chunks[self._step].up
        if len(data) != expected:
            raise WireError(f"expected {expected} ciphertexts, got {len(data)}")

    def _advance(self, data: list[bytes]) -> bytes:
        assert self._job is not None
        assert self._preparation is not None
        out = self._preparation.answer(self._job, self._job.chunks[self._step], data)
        self.finished = self._step == len(self._job.chunks) - 1
        return self._send(self._plan_id, out)
