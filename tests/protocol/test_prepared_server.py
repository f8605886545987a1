"""The server's side of the prepared protocol against clients that deviate, and against its end.

Real ciphertexts, the smallest model; tickets lie in a file, as a service keeps them.
"""

import multiprocessing
import os
import signal

import numpy as np
import pytest
from prepared.tickets import Recorded
from reference import (
    polynomial_logits,
    random_normalised_weights,
    random_polynomial_weights,
    random_weights,
)

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.client.keys import client_engine, generated
from thex_hf.client.tickets import MemoryStock
from thex_hf.errors import KeyMismatch, PlanMismatch, TicketError, WireError
from thex_hf.prepared.clear import ClearRun
from thex_hf.prepared.masks import ticket_seed
from thex_hf.prepared.online import ServerShares
from thex_hf.prepared.wire import preparation_id, write_name
from thex_hf.protocol import prepared_server
from thex_hf.protocol.messages import Message
from thex_hf.protocol.prepared_client import PreparedClientRun, Preparing, Ticket, read_rows
from thex_hf.serving.engine_cache import KeysName
from thex_hf.serving.server import ThexServer
from thex_hf.serving.ticket_places import FolderLedger

WEIGHTS = random_polynomial_weights(layers=1, hidden=16, heads=2, intermediate=16)
BACKEND = get_backend("seal")
TEXT = np.random.default_rng(0).normal(size=(5, 16))
CONTEXT = multiprocessing.get_context("fork")


def server_with(ledger, weights=WEIGHTS):
    return ThexServer(
        weights, BACKEND, options=PlanOptions("prepared"), buckets=(16, 32), tickets=ledger
    )


class Person:
    """A client with keys and, once prepared, tickets."""

    def __init__(self, server, name="ann"):
        self.server, self.name = server, name
        self.plan = server.plan(16)
        secret, self.public = generated(self.plan, BACKEND)
        self.engine = client_engine(self.plan, BACKEND, secret)
        self.key_id = self.public.key_id
        self.bring_keys(server)
        self.stock = MemoryStock(self.plan)

    @property
    def keys(self):
        return f"{self.name}'s {self.key_id[:8]}"

    def bring_keys(self, server):
        server.hold(KeysName(self.name, self.keys), self.plan, self.public, self.public.size)

    def send(self, data, run=None, server=None):
        return (server or self.server).answer(data, self.keys, self.name, run)

    @property
    def preparing(self):
        return Preparing(self.plan, self.key_id, self.engine, self.send)

    def prepare(self, again=()):
        with self.stock.adding() as batch:
            batch.name = self.preparing.open()
            for job in [*range(len(self.plan.batch.jobs)), *again]:
                list(self.preparing.run(batch.name, batch.seed, batch.rows, [job]))
        return self

    def run(self, ticket):
        return PreparedClientRun(self.plan, self.key_id, ticket, TEXT)

    def classify(self, ticket, server=None):
        run, out = self.run(ticket), None
        data = run.request()
        while data is not None:
            out = self.send(data, run.run, server)
            data = run.receive(out)
        return run.logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def server(folder):
    return server_with(FolderLedger(folder))


@pytest.fixture(scope="module")
def ann(server):
    return Person(server).prepare()


def left(ann, ticket):
    return ann.server.tickets.get(ann.name, ticket.batch).left


def good(logits):
    return np.abs(logits - polynomial_logits(WEIGHTS, TEXT)).max() < 0.01


def changed(run, part=None, **fields):
    """A request with something else in it; ``part``: what comes instead of a list of bytes."""
    message = Message.from_bytes(run.request())
    parts = [list(one) for one in message.parts]
    if part is not None:
        parts[part[0]] = part[1](parts[part[0]])
    named = {
        "type": message.type,
        "plan": message.plan,
        "key": message.key,
        "run": message.run,
        "step": message.step,
        "parts": parts,
    }
    return Message(**{**named, **fields}).to_bytes()


def test_a_ticket_answers_once_and_a_request_is_not_answered_again(ann):
    ticket = ann.stock.take()
    assert good(ann.classify(ticket))
    for run in (ann.run(ticket), ann.run(ticket)):
        with pytest.raises(TicketError, match="is spent"):
            ann.send(run.request(), run.run)


def test_a_replayed_request_is_refused_while_its_run_goes_on_and_after(ann):
    ticket = ann.stock.take()
    run = ann.run(ticket)
    request = run.request()
    reply = run.receive(ann.send(request, run.run))
    with pytest.raises(WireError, match="in progress"):
        ann.send(request, run.run)
    with pytest.raises(TicketError, match="is spent"):
        ann.send(changed(ann.run(ticket)))
    while reply is not None:
        reply = run.receive(ann.send(reply, run.run))
    assert good(run.logits)
    with pytest.raises(TicketError, match="is spent"):
        ann.send(request, run.run)


def test_two_clients_with_one_ticket_get_one_answer(ann):
    ticket = ann.stock.take()
    first, second = ann.run(ticket), ann.run(ticket)
    ann.send(first.request(), first.run)
    with pytest.raises(TicketError, match="is spent"):
        ann.send(second.request(), second.run)


def test_a_replica_knows_what_another_has_spent(ann, folder):
    replica = server_with(FolderLedger(folder))
    ann.bring_keys(replica)
    ticket = ann.stock.take()
    assert good(ann.classify(ticket, replica))
    with pytest.raises(TicketError, match="is spent"):
        ann.classify(ticket)


def test_foreign_owners_keys_and_plans_are_refused_and_the_ticket_stays_good(ann, server):
    ticket = ann.stock.take()
    before = left(ann, ticket)
    eve = Person(server, "eve")
    with pytest.raises(TicketError, match="no batch of tickets"):
        eve.send(changed(ann.run(ticket), key=eve.key_id))
    other = Person(server, "ann")  # the same owner, other keys
    with pytest.raises(PlanMismatch, match="another plan or other keys"):
        other.send(changed(ann.run(ticket), key=other.key_id))
    with pytest.raises(KeyMismatch):
        ann.send(changed(ann.run(ticket), key="f" * 32))
    with pytest.raises(PlanMismatch, match="another plan or other keys"):
        ann.send(changed(ann.run(ticket), plan=server.plan(32).id))
    with pytest.raises(PlanMismatch, match="does not have"):
        ann.send(changed(ann.run(ticket), plan="0" * 32))
    with pytest.raises(PlanMismatch, match="another plan or other keys"):
        list(other.preparing.run(ticket.batch, bytes(32), other_rows(ann), [0]))
    assert left(ann, ticket) == before
    assert good(ann.classify(ticket))


def other_rows(person):
    return np.zeros((person.plan.batch.tickets, person.plan.layout.numbers), np.uint64)


def names(change):
    return 0, lambda part: [change(part[0])]


def arrays(change):
    return 1, change


def number_of(number):
    return names(lambda name: write_name(name[:16], number)[0])


WRONG = {
    "a number out of range": (number_of(512), TicketError, "has 512 tickets"),
    "the largest number": (number_of(2**32 - 1), TicketError, "has 512 tickets"),
    "an unknown batch": (names(lambda name: bytes(16) + name[16:]), TicketError, "no batch"),
    "a short name": (names(lambda name: name[:-1]), WireError, "name of a ticket"),
    "a long name": (names(lambda name: name + b"\0"), WireError, "name of a ticket"),
    "no name": ((0, lambda part: []), WireError, "name of a ticket"),
    "two names": ((0, lambda part: part * 2), WireError, "name of a ticket"),
    "no arrays": (arrays(lambda part: []), WireError, "arrays of numbers"),
    "an array too many": (arrays(lambda part: [*part, b""]), WireError, "arrays of numbers"),
    "a short array": (arrays(lambda part: [part[0][:-8], *part[1:]]), WireError, "bytes of"),
    "a long array": (arrays(lambda part: [part[0] + bytes(8), *part[1:]]), WireError, "bytes of"),
    "half a number": (arrays(lambda part: [part[0][:-1], *part[1:]]), WireError, "bytes of"),
    "the prime": (
        arrays(lambda part: [part[0][:-8] + PRIME.to_bytes(8, "little"), *part[1:]]),
        WireError,
        "must be below",
    ),
    "the largest word": (
        arrays(lambda part: [b"\xff" * 8 + part[0][8:], *part[1:]]),
        WireError,
        "must be below",
    ),
}
PRIME = 576460752303210497


@pytest.mark.parametrize("what", WRONG)
def test_a_request_that_is_malformed_spends_nothing(ann, what):
    assert ann.plan.numbers.prime == PRIME
    part, error, text = WRONG[what]
    ticket = ann.stock.take()
    before = left(ann, ticket)
    with pytest.raises(error, match=text):
        ann.send(changed(ann.run(ticket), part))
    assert left(ann, ticket) == before
    assert good(ann.classify(ticket))


def test_lists_that_are_missing_or_too_many_spend_nothing(ann):
    ticket = ann.stock.take()
    before = left(ann, ticket)
    parts = Message.from_bytes(ann.run(ticket).request()).parts
    for wrong in ([], [parts[0]], [*parts, []]):
        with pytest.raises(WireError, match="parts in the message"):
            ann.send(changed(ann.run(ticket), parts=wrong))
    assert left(ann, ticket) == before


@pytest.mark.parametrize("change", [lambda d: d[:-8], lambda d: b"\xff" * 8 + d[8:]], ids=range(2))
def test_a_malformed_reply_changes_nothing(ann, change):
    ticket = ann.stock.take()
    run = ann.run(ticket)
    reply = run.receive(ann.send(run.request(), run.run))
    message = Message.from_bytes(reply)
    wrong = [[change(message.parts[0][0]), *message.parts[0][1:]]]
    bad = Message("reply", message.plan, message.key, run.run, message.step, wrong)
    with pytest.raises(WireError):
        ann.send(bad.to_bytes(), run.run)
    while reply is not None:
        reply = run.receive(ann.send(reply, run.run))
    assert good(run.logits)


def test_an_unfinished_batch_serves_no_text(server):
    person = Person(server)
    name = person.preparing.open()
    row = other_rows(person)
    jobs = len(person.plan.batch.jobs)
    list(person.preparing.run(name, bytes(32), row, range(jobs - 1)))
    with pytest.raises(TicketError, match="not prepared to the end: finish it first"):
        person.classify(Ticket(name, 0, ticket_seed(bytes(32), 0), row[0]))
    list(person.preparing.run(name, bytes(32), row, [jobs - 1]))
    assert good(person.classify(Ticket(name, 0, ticket_seed(bytes(32), 0), row[0])))


def test_jobs_and_chunks_that_are_none_count_no_attempt(ann):
    name = ann.preparing.open()
    plan, run = preparation_id(ann.plan.id), "1" * 32
    jobs = len(ann.plan.batch.jobs)
    for parts, text in (
        ([write_name(name, jobs), []], f"expected one of {jobs} jobs"),
        ([write_name(name, 0), []], "ciphertexts, got 0"),
        ([write_name(name, 0), [b""] * 99], "ciphertexts, got 99"),
        ([write_name(name, 0)], "parts in the message"),
        ([[name], []], "name of a ticket"),
    ):
        with pytest.raises(WireError, match=text):
            ann.send(Message("request", plan, ann.key_id, run, 0, parts).to_bytes())
    assert ann.server.tickets.get("ann", name).attempts == {}


def answers_to(person, name, job, inputs):
    """What a job answers to ciphertexts, decrypted."""
    plan, run, out = preparation_id(person.plan.id), os.urandom(16).hex(), []
    for step, (chunk, sent) in enumerate(zip(job.chunks, inputs, strict=True)):
        number = person.plan.batch.jobs.index(job)
        parts = [sent] if step else [write_name(name, number), sent]
        kind = "reply" if step else "request"
        data = Message(kind, plan, person.key_id, run, max(0, step - 1), parts).to_bytes()
        part = Message.from_bytes(person.send(data, run)).parts[0]
        if chunk.down:
            out.append(person.engine.decrypt(part))
    return np.concatenate(out)


@pytest.mark.parametrize("which", [0, -1], ids=["linear", "product"])
def test_a_job_begun_twice_has_other_masks(server, which):
    """To the very same ciphertexts: the difference of two answers is uniform, not zero."""
    person = Person(server)
    name, job = person.preparing.open(), person.plan.batch.jobs[which]
    prime = person.plan.numbers.prime
    rng = np.random.default_rng(3)
    inputs = [
        person.engine.encrypt(rng.integers(0, prime, (chunk.up, 8192), dtype=np.uint64))
        if chunk.up
        else []
        for chunk in job.chunks
    ]
    first, second = (answers_to(person, name, job, inputs) for _ in range(2))
    difference = ((first.astype(object) - second.astype(object)) % prime).astype(float).ravel()
    counts = np.histogram(difference, 16, (0, prime))[0]
    expected = len(difference) / 16
    assert ((counts - expected) ** 2 / expected).sum() < 60  # 15 degrees of freedom


def test_a_batch_works_with_the_last_attempt_of_each_job(server):
    person = Person(server)
    person.prepare(again=[len(person.plan.batch.jobs) - 1])
    ticket = person.stock.take()
    assert 2 in server.tickets.get("ann", ticket.batch).attempts.values()
    assert good(person.classify(ticket))


SIZES = {"layers": 1, "hidden": 16, "heads": 2, "intermediate": 16, "labels": 3}
EVERY = {
    "polynomial": random_polynomial_weights(**SIZES, power=4, head="tokens"),
    "normalised": random_normalised_weights([(4, 2)], **SIZES),
    "the-x": random_weights(**SIZES),
}


@pytest.mark.parametrize("form", EVERY)
def test_an_answer_is_the_clear_networks_bit_for_bit(folder, form, monkeypatch):
    """By the server's own shares of that run, which say how each number was rounded."""
    made = []
    monkeypatch.setattr(
        prepared_server, "ServerShares", lambda *of: made.append(Recorded(*of)) or made[-1]
    )
    person = Person(server_with(FolderLedger(folder), EVERY[form]))
    person.prepare(again=[len(person.plan.batch.jobs) - 1])
    plan = person.plan
    assert plan.form == form
    for _ in range(2):
        logits = person.classify(person.stock.take())
        clear = ClearRun(plan.network, plan.numbers, hats=made.pop().seen)
        assert np.array_equal(logits, read_rows(plan, clear.run(TEXT), len(TEXT)))


def test_two_runs_of_one_job_at_once_share_no_mask(server, monkeypatch):
    """Each has the masks of its own attempt, though both have begun before either answers."""
    person, seen = Person(server), []
    name, job = person.preparing.open(), person.plan.batch.jobs[0]
    ledger = server.tickets
    begin = ledger.begin

    def crowded(owner, batch, number):
        attempt = begin(owner, batch, number)
        begin(owner, batch, number)  # another worker's, in between
        seen.append(attempt)
        return attempt

    monkeypatch.setattr(ledger, "begin", crowded)
    chunk = job.chunks[0]
    sent = person.engine.encrypt(np.zeros((chunk.up, 8192), np.uint64))
    plan, run = preparation_id(person.plan.id), "2" * 32
    parts = [write_name(name, 0), sent]
    person.send(Message("request", plan, person.key_id, run, 0, parts).to_bytes())
    (held,) = (one.run for one in server.runs._held.values() if one.run._run == run)
    assert set(held._preparation.attempts.values()) == {seen[0]} == {1}
    assert ledger.get("ann", name).attempts == {0: 2}


def test_a_server_killed_between_mark_and_answer_has_spent_the_ticket(ann, folder, monkeypatch):
    ticket = ann.stock.take()
    run = ann.run(ticket)

    def die():
        monkeypatch.setattr(ServerShares, "start", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        fresh = server_with(FolderLedger(folder))
        ann.bring_keys(fresh)
        fresh.answer(run.request(), ann.keys, ann.name)

    process = CONTEXT.Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(TicketError, match="is spent"):
        ann.send(run.request(), run.run)


def test_nothing_that_is_shown_has_the_seed(ann):
    ticket = ann.stock.take()
    ann.send(ann.run(ticket).request())
    seed = ann.server.tickets.get("ann", ticket.batch).seed
    shown = repr(list(ann.server.runs._held.values())) + repr(ann.server) + repr(ann.server.tickets)
    assert seed.hex() not in shown
    assert repr(seed)[2:-1] not in shown
    assert repr(ticket_seed(seed, ticket.number))[2:-1] not in shown
