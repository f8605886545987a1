"""Whole texts in forked children: same outcomes, in order, with fresh randomness."""

import os
import signal
import time
from types import SimpleNamespace

import msgpack
import msgspec
import numpy as np
import pytest
from reference import clear_logits, random_weights
from threadpoolctl import threadpool_info, threadpool_limits

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.plan import Facts
from thex_hf.client.spreading import Children
from thex_hf.errors import ChildError, InputError, OptionError, WireError
from thex_hf.local.session import LocalSession, process_count
from thex_hf.processes import (
    Channel,
    Child,
    can_fork,
    error_from_message,
    error_to_message,
    map_jobs,
    usable_cores,
)
from thex_hf.protocol.result import Result

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
    pytest.mark.usefixtures("nothing_left"),
]
RANGES = [{"value": 8.0, "layer_out": 8.0, "scores": 8.0, "ffn_pre": 8.0}] * 2


@pytest.fixture(scope="module")
def weights():
    return random_weights(hidden=16, intermediate=24, layers=1)


@pytest.fixture(scope="module")
def session(weights):
    return LocalSession(weights, get_backend("clear"), ranges=RANGES[:1], processes=2)


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, 16)) for length in (3, 16, 20, 7, 5)]


def expected(weights, text, size):
    padded = np.zeros((size, 16))
    padded[: len(text)] = text
    return clear_logits(weights, padded, (np.arange(size) < len(text)) * 1.0)


def test_texts_keep_their_order(session, weights, texts):
    outcomes = session.run_many(texts)
    for text, outcome in zip(texts, outcomes, strict=True):
        size = outcome.plan.shape.tokens
        np.testing.assert_allclose(outcome.logits, expected(weights, text, size), atol=1e-3)
        assert size == session.plan(len(text)).shape.tokens
        assert outcome.rounds == 3
    assert [outcome.key_bytes > 0 for outcome in outcomes] == [True] * 5


def test_one_time_costs_are_paid_once_and_here(weights, texts):
    session = LocalSession(weights, get_backend("clear"), ranges=RANGES[:1], processes=2)
    outcomes = session.run_many(texts[:2])
    assert outcomes[0].keygen_seconds > 0 < outcomes[0].prepare_seconds
    assert outcomes[1].keygen_seconds == 0 == outcomes[1].prepare_seconds
    assert session.run(texts[0]).prepare_seconds == 0


@pytest.mark.slow
def test_seal_texts_in_children(weights, texts):
    session = LocalSession(weights, get_backend("seal"), ranges=RANGES[:1], processes=2)
    outcomes = session.run_many([texts[0], texts[3]])
    for text, outcome in zip([texts[0], texts[3]], outcomes, strict=True):
        np.testing.assert_allclose(outcome.logits, expected(weights, text, 16), atol=1e-2)


def test_nothing_and_one_text_need_no_child(session, texts):
    assert session.run_many([]) == []
    (one,) = session.run_many(texts[:1])
    np.testing.assert_allclose(one.logits, session.run(texts[0]).logits, atol=1e-3)


def test_children_do_not_repeat_the_parents_randomness(weights, texts):
    """A forked generator would encrypt with the same randomness in every child."""
    session = LocalSession(weights, get_backend("seal"), ranges=RANGES[:1])
    engine = session.client.keys_for(session.plan(3)).engine

    def encrypted(_index):
        return [engine.encrypt(np.zeros(engine.slots), 0), os.urandom(16)]

    seen = [*map_jobs(4, encrypted, 4, lambda: None), encrypted(0)]
    assert len({bytes(ciphertext) for ciphertext, _ in seen}) == len(seen)
    assert len({bytes(noise) for _, noise in seen}) == len(seen)


def test_a_bad_text_is_refused_before_any_child_and_the_others_are_served(session, texts):
    good, bad, other = session.run_many([texts[0], np.full((3, 16), np.nan), texts[1]])
    assert type(bad) is InputError
    assert "NaN" in str(bad)
    np.testing.assert_allclose(good.logits, session.run(texts[0]).logits, atol=1e-3)
    assert other.rounds == 3


@pytest.mark.parametrize("processes", [1, 3])
def test_one_texts_error_on_the_way_does_not_end_the_others(processes):
    plans = [SimpleNamespace(facts=Facts(16)) for _ in range(4)]

    def classify(index):
        if index == 1:
            raise InputError("this one cannot be served")
        return Result(np.array([float(index)]), plans[index], 1, 0, 0, 0.0, 0.0)

    found = Children(processes).run(plans, classify)
    assert type(found[1]) is InputError
    assert str(found[1]) == "this one cannot be served"
    assert [found[i].logits[0] for i in (0, 2, 3)] == [0.0, 2.0, 3.0]
    assert found[3].plan is plans[3]


def test_an_error_comes_back_with_the_number_of_its_text():
    def work(index):
        if index == 3:
            raise WireError("three bytes are missing")
        return index

    with pytest.raises(WireError) as caught:
        map_jobs(6, work, 2, lambda: None)
    assert str(caught.value) == "text 3: three bytes are missing"
    assert "in work" in caught.value.__notes__[0]
    with pytest.raises(ChildError, match="text 0: a child process raised KeyError"):
        map_jobs(2, lambda index: {}[index], 2, lambda: None)


def test_a_killed_child_is_reported_and_ends_the_others():
    def work(index):
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    with pytest.raises(ChildError, match=r"SIGKILL.*use fewer processes"):
        map_jobs(2, work, 2, lambda: None)


def test_an_interrupt_ends_every_child():
    pids = []

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pids += map_jobs(
            8, lambda index: os.getpid() if not index else time.sleep(60), 4, interrupt
        )


def test_every_job_is_done_once_by_as_many_children_as_asked_for():
    ticks = []
    results = map_jobs(50, lambda index: [index, os.getpid()], 3, lambda: ticks.append(1))
    assert [index for index, _ in results] == list(range(50))
    assert os.getpid() not in {pid for _, pid in results}
    assert 1 <= len({pid for _, pid in results}) <= 3
    assert len(ticks) == 50


def test_children_end_when_their_parent_is_gone():
    def parent(channel):
        child = Child(lambda inner: inner.receive())  # waits for ever
        channel.send(child.pid)
        os.kill(os.getpid(), signal.SIGKILL)

    from thex_hf import processes as module

    outer = Child(lambda channel: (setattr(module, "_inside", False), parent(channel)))
    orphan = outer.receive()
    outer.wait()
    for _ in range(200):
        if not _alive(orphan):
            return
        time.sleep(0.02)
    os.kill(orphan, signal.SIGKILL)
    raise AssertionError("the orphan went on")


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_messages_of_any_size_cross():
    def work(channel):
        channel.send(channel.receive()[::-1])

    data = os.urandom(3_000_000)
    child = Child(work)
    child.channel.send(data)
    assert child.receive() == data[::-1]
    assert child.wait() == 0


def test_a_closed_channel_says_so():
    one, two = Channel.pair()
    two.close()
    with pytest.raises(EOFError):
        one.receive()
    one.close()


def test_an_error_crosses_as_what_it_was():
    error = error_from_message(
        msgpack.unpackb(msgspec.msgpack.encode(error_to_message(WireError("cut"))))
    )
    assert type(error) is WireError
    assert str(error) == "cut"
    assert "WireError: cut" in error.__notes__[0]


@pytest.mark.parametrize(
    "message", [None, "text", {}, [], ["WireError", "x"], ["WireError", "x", "y", "z"], [1, 2, 3]]
)
def test_what_is_no_error_of_a_child_is_told_as_such(message):
    error = error_from_message(message, "text 3: ")
    assert type(error) is ChildError
    assert str(error).startswith("text 3: a child process sent what is no error: Expected")


@pytest.mark.parametrize("kind", ["ThexError.__init__", "annotations", "Self", "KeyError"])
def test_only_errors_of_ours_are_made_by_name(kind):
    assert type(error_from_message([kind, "x", "trace"])) is ChildError


class Unknown:
    """A backend that says nothing of forks."""


def test_backends_say_what_children_may_do():
    cores, seal, clear = usable_cores(), get_backend("seal"), get_backend("clear")
    assert can_fork()
    assert process_count(seal, None, pieces=True) == cores
    assert process_count(seal, 3, pieces=True) == process_count(seal, 3, pieces=False) == 3
    assert process_count(clear, 3, pieces=True) == 1
    assert process_count(clear, 3, pieces=False) == 3
    assert process_count(Unknown(), 3, pieces=False) == 1


@pytest.mark.parametrize("processes", [0, -1, 1.5, True, "2"])
def test_bad_numbers_of_processes_are_refused(weights, session, texts, processes):
    with pytest.raises(OptionError, match="whole number"):
        LocalSession(weights, get_backend("clear"), processes=processes)
    with pytest.raises(OptionError, match="whole number"):
        session.run_many(texts, processes=processes)


def test_children_take_one_thread_each_for_matrix_products():
    """The parent keeps its own."""

    def most(_: int = 0) -> int:
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        return max(pool["num_threads"] for pool in pools)

    with threadpool_limits(2, user_api="blas"):
        assert map_jobs(3, most, 2, lambda: None) == [1, 1, 1]
        assert most() == 2
