"""Protocol ``prepared`` by the pipeline's session: real ciphertexts, real tickets."""

import logging
import shutil

import numpy as np
import pytest
from reference import (
    clear_logits,
    polynomial_logits,
    random_polynomial_weights,
    random_weights,
)

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import PlanOptions, learns_of
from thex_hf.errors import InputError, OptionError, PlanError, RangeError, TicketError
from thex_hf.local import simulation
from thex_hf.local.session import LocalSession
from thex_hf.local.simulation import PreparedSimulation
from thex_hf.options import RunOptions
from thex_hf.protocol.prepared_client import Preparing

SIZES = {"layers": 1, "hidden": 16, "heads": 2, "intermediate": 16}
WEIGHTS = random_polynomial_weights(**SIZES)
OPTIONS = PlanOptions("prepared")


def session_of(weights=WEIGHTS, options=OPTIONS, **further):
    return LocalSession(weights, get_backend("seal"), options, **further)


def text(tokens, seed=0):
    return np.random.default_rng(seed).normal(size=(tokens, 16))


@pytest.fixture(scope="module")
def session():
    return session_of()


def stock_of(session, tokens=5):
    return session.client.stock(session.plan(tokens))


def test_answers_are_the_models(session, caplog):
    with caplog.at_level(logging.WARNING):
        result = session.run(text(5))
    assert "preparing 512" in caplog.text
    assert np.abs(result.logits - polynomial_logits(WEIGHTS, text(5))).max() < 0.01
    assert result.rounds == 5
    assert result.prepare_seconds > 0
    assert result.bytes_up >= 8 * session.plan(5).network.numbers_up
    again = session.run(text(16, 1))
    assert np.abs(again.logits - polynomial_logits(WEIGHTS, text(16, 1))).max() < 0.01
    assert again.prepare_seconds == 0
    assert result.tickets_left == 511
    assert again.tickets_left == 510
    for one in (result, again):  # what the ticket cost, whenever that was
        assert one.prepare_bytes_up * 512 > 512 * 1000
        assert one.prepare_bytes_down > 1000


def test_a_text_spends_a_ticket_and_a_refused_one_does_not(session):
    session.run(text(5))
    left = stock_of(session).left()
    many = session.run_many([text(3), text(9), np.full((4, 16), np.nan)])
    assert [type(one).__name__ for one in many] == ["Result", "Result", "InputError"]
    assert stock_of(session).left() == left - 2


def test_a_ticket_serves_one_text(session):
    session.run(text(5))
    ledger = session.server.tickets
    owner, batch = next(iter(ledger._batches))
    with pytest.raises(TicketError, match="spent"):
        ledger.spend(owner, batch, 0)


def test_a_batch_that_the_server_forgot_is_dropped(session):
    session.run(text(5))
    session.server.tickets._batches.clear()
    with pytest.raises(TicketError, match="prepare new tickets"):
        session.run(text(5))
    assert stock_of(session).left() == 0


def test_keys_and_tickets_stay_in_the_keys_folder(tmp_path):
    first = session_of(keys=tmp_path)
    first.run(text(4))
    left = stock_of(first).left()
    assert stock_of(session_of(keys=tmp_path)).left() == left


def test_tickets_of_an_earlier_process_are_good_in_a_later_one(tmp_path):
    first = session_of(keys=tmp_path, refill=0)
    first.client.prepare_tickets(first.plan(5), processes=2)
    first.run(text(5))
    later = session_of(keys=tmp_path, refill=0)
    result = later.run(text(9, 1))
    assert np.abs(result.logits - polynomial_logits(WEIGHTS, text(9, 1))).max() < 0.01
    assert result.tickets_left == 510
    files = [path for path in (tmp_path / "server").iterdir() if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


@pytest.mark.parametrize("kept", ["in memory", "in a folder"])
def test_a_short_text_takes_a_ticket_for_longer_ones_before_any_is_prepared(kept, tmp_path):
    keys = None if kept == "in memory" else tmp_path
    session = session_of(keys=keys, refill=0)
    session.client.prepare_tickets(session.plan(20), processes=2)
    if keys is not None:
        session = session_of(keys=keys, refill=0)  # a later process
    result = session.run(text(5))
    assert result.plan.facts.bucket == 32  # as the server learns
    assert result.tickets_left == 255
    assert result.prepare_seconds == 0
    assert np.abs(result.logits - polynomial_logits(WEIGHTS, text(5))).max() < 0.01
    both = session.run_many([text(16, 1), text(30, 2)])
    assert [one.plan.facts.bucket for one in both] == [32, 32]
    with pytest.raises(TicketError, match="no ticket is left"):
        session.run(text(40))  # none is long enough
    session.client.prepare_tickets(session.plan(5), processes=2)
    assert session.run(text(5)).plan.facts.bucket == 16  # its own come first


def test_when_longer_tickets_are_gone_too_own_ones_are_prepared(caplog):
    session = session_of()
    longer = session.plan(20)
    session.client.prepare_tickets(longer, processes=2)
    stock = session.client.stock(longer)
    for _ in range(stock.left() - 1):
        stock.take()
    assert session.run(text(5)).plan.facts.bucket == 32
    with caplog.at_level(logging.WARNING):
        assert session.run(text(5)).plan.facts.bucket == 16
    assert "up to 16 tokens: preparing 512" in caplog.text


def test_a_refill_is_of_the_texts_own_length():
    session = session_of(refill=10)
    session.client.prepare_tickets(session.plan(20), processes=2)
    assert session.run(text(5)).plan.facts.bucket == 32
    session.client.wait_for_tickets()
    assert stock_of(session).left() == 512
    assert session.run(text(5)).plan.facts.bucket == 16


def test_what_the_server_lost_is_not_used(tmp_path):
    first = session_of(keys=tmp_path)
    plan = first.plan(5)
    first.client.prepare_tickets(plan, processes=1)
    shutil.rmtree(tmp_path / "server")
    later = session_of(keys=tmp_path)
    with pytest.raises(TicketError, match="prepare new tickets"):
        later.run(text(5))
    assert later.client.stock(plan).left() == 0


def test_other_heads_and_powers():
    weights = random_polynomial_weights(**SIZES, power=4, head="tokens", labels=3)
    result = session_of(weights).run(text(7))
    assert result.logits.shape == (7, 3)
    assert np.abs(result.logits - polynomial_logits(weights, text(7))).max() < 0.02


@pytest.mark.slow
def test_texts_longer_than_circuits_take():
    session, x = session_of(), text(300, 3)
    result = session.run(x)
    assert result.plan.facts.bucket == 512
    assert np.abs(result.logits - polynomial_logits(WEIGHTS, x)).max() < 0.01


def test_a_text_that_runs_away_is_refused_twice_over(session):
    session.run(text(5))
    left = stock_of(session).left()
    with pytest.raises(RangeError, match="wrapped around"):
        session.run(3000 * text(5))
    assert stock_of(session).left() == left - 2


def test_a_number_that_wraps_costs_another_ticket_and_is_counted(session):
    assert session.run(text(5)).wraps == 0
    held = stock_of(session)._batches[0]
    prime = session.plan(5).numbers.prime  # such shares give numbers that are nowhere near
    held.batch.rows[held.next] = np.random.default_rng(1).integers(prime, dtype=np.uint64, size=1)
    result = session.run(text(5))
    assert np.abs(result.logits - polynomial_logits(WEIGHTS, text(5))).max() < 0.01
    assert result.wraps == 1


def test_tickets_are_prepared_ahead_of_need(caplog):
    session = session_of(refill=512)
    client = session.client
    client.prepare_tickets(session.plan(5))
    with caplog.at_level(logging.WARNING):
        result = session.run(text(5))
        client.wait_for_tickets()
        assert session.run(text(9)).tickets_left == 1022
    assert result.tickets_left == 511
    assert result.prepare_seconds == 0
    assert not caplog.records


def test_a_preparation_ahead_of_need_that_fails_is_told(caplog, monkeypatch):
    session = session_of(refill=1000)
    client = session.client
    client.prepare_tickets(session.plan(5))
    monkeypatch.setattr(
        "thex_hf.client.supply.prepare_batch", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    session.run(text(5))
    client.wait_for_tickets()
    assert "could not be prepared ahead of need" in caplog.text
    assert "full" in caplog.text
    assert session.run(text(5)).tickets_left == 510


def test_with_refill_0_no_text_waits_for_a_preparation():
    session = session_of(refill=0)
    with pytest.raises(TicketError, match="thex-hf prepare"):
        session.run(text(5))
    session.client.prepare_tickets(session.plan(5))
    assert session.run(text(5)).tickets_left == 511


def test_ctrl_c_leaves_no_half_batch(tmp_path, monkeypatch):
    session = session_of(keys=tmp_path, processes=1)
    plan, done = session.plan(5), []

    def interrupted(half, *arguments):
        if done:
            raise KeyboardInterrupt
        done.append(arguments)
        return run(half, *arguments)

    run = Preparing.run
    monkeypatch.setattr(Preparing, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.client.prepare_tickets(plan)
    assert session.client.stock(plan).left() == 0
    assert not [path for path in tmp_path.rglob("*") if path.name == "rows"]


def test_simulation_computes_the_same():
    simulated = PreparedSimulation(WEIGHTS)
    result = simulated.run(text(5))
    assert np.abs(result.logits - polynomial_logits(WEIGHTS, text(5))).max() < 0.01
    assert (result.bytes_up, result.rounds) == (0, 5)
    outcomes = simulated.run_many([text(3), 3000 * text(5), np.zeros((2, 3))])
    assert [type(one) for one in outcomes[1:]] == [RangeError, InputError]
    assert result.wraps == 0


@pytest.mark.parametrize("wrapped", [1, 2])
def test_a_simulated_text_whose_number_wraps_has_another_try(monkeypatch, wrapped):
    left = iter(range(wrapped))

    class Wrapping(simulation.ClearRun):
        def run(self, embeddings):
            return super().run(embeddings) * (1.0 if next(left, None) is None else 1e9)

    monkeypatch.setattr(simulation, "ClearRun", Wrapping)
    simulated = PreparedSimulation(WEIGHTS)
    if wrapped == 2:
        with pytest.raises(RangeError, match="wrapped around"):
            simulated.run(text(5))
        return
    result = simulated.run(text(5))
    assert result.wraps == 1
    assert np.abs(result.logits - polynomial_logits(WEIGHTS, text(5))).max() < 0.01


@pytest.mark.parametrize(
    "options",
    [{"ring": 8192}, {"flood": "strong"}, {"softmax": "exact"}, {"backend": "clear"}],
    ids=str,
)
def test_options_that_do_not_go_with_it_are_refused(options):
    with pytest.raises(OptionError):
        RunOptions(protocol="prepared", **options).resolved("polynomial")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "prepared", "refill": -1}, "0 or more, got -1"),
        ({"protocol": "prepared", "refill": True}, "0 or more, got True"),
        ({"protocol": "refresh", "refill": 5}, "'refresh' has not"),
    ],
    ids=str,
)
def test_a_refill_that_means_nothing_is_refused(options, words):
    with pytest.raises(OptionError, match=words):
        RunOptions(**options).resolved("polynomial")


def test_models_of_the_the_x_form_run_with_the_warning_of_client_aided():
    weights = random_weights(layers=1, hidden=16, heads=2, intermediate=16)
    session, x = session_of(weights), text(6)
    result = session.run(x)
    assert result.rounds == 3
    assert np.abs(result.logits - clear_logits(weights, x, np.ones(6))).max() < 0.01
    simulated = PreparedSimulation(weights).run(x)
    assert np.abs(result.logits - simulated.logits).max() < 0.01
    assert "the model is not" in learns_of("prepared", "the-x")
    assert "the model is not" not in learns_of("prepared", "polynomial")


def test_softmax_is_for_the_the_x_form():
    assert RunOptions(protocol="prepared", softmax="exact").resolved("the-x").softmax == "exact"
    with pytest.raises(OptionError, match="THE-X form"):
        RunOptions(protocol="prepared", softmax="exact").resolved("polynomial")
    with pytest.raises(PlanError, match="client finishes"):
        session_of(
            random_weights(layers=1, hidden=16, heads=2, intermediate=16),
            options=PlanOptions("prepared", "estimate-on-server"),
        ).run(text(3))
