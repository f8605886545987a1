"""Real ciphertexts under Concrete, and what happens when a worker dies or is told nonsense."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from concrete_world import RANGES, text
from reference import clear_logits, random_weights

from thex_hf.concrete.backend import ConcreteSession
from thex_hf.concrete.environment import Worker, pins
from thex_hf.errors import BackendUnavailable, ChildError


@pytest.fixture(scope="module")
def session(concrete_python):
    made = ConcreteSession(random_weights(hidden=16, intermediate=32), RANGES)
    yield made
    made.close()


def simulated(session):
    return ConcreteSession(session.weights, RANGES, encrypted=False)


def test_ciphertexts_give_the_very_result_of_the_simulation(session):
    embeddings = text(5, hidden=16)
    outcome = session.run(embeddings)
    assert np.array_equal(outcome.logits, simulated(session).run(embeddings).logits)
    want = clear_logits(session.weights, embeddings, np.ones(5))
    assert np.abs(outcome.logits - want).max() < 0.3
    assert outcome.rounds == len(outcome.plan.maps) == 9
    assert outcome.bytes_down > outcome.bytes_up > 0
    assert outcome.keygen_seconds > 0
    assert session.run(embeddings).keygen_seconds == 0  # made once


def test_concretes_own_simulation_is_ours(session):
    circuit = session.plan(3)
    for own in circuit.maps.values():
        session._server.compile(own)
        rng = np.random.default_rng(0)
        most = own.frame.inputs[0].most
        integers = rng.integers(-most, most + 1, (own.frame.rows, sum(own.frame.widths)))
        assert np.array_equal(session._server.simulate(own.frame, integers), own.apply(integers))


@pytest.mark.parametrize("role", ["_server", "_client"])
def test_a_killed_worker_fails_one_run_and_the_next_one_works(session, role):
    embeddings = text(4, hidden=16)
    want = session.run(embeddings).logits
    worker = getattr(session, role)._worker
    ask, asked = worker.ask, []

    def killed(op, **message):
        asked.append(op)
        if len(asked) == 3:
            os.kill(worker.pid, signal.SIGKILL)
        return ask(op, **message)

    worker.ask = killed
    with pytest.raises(ChildError, match=r"worker stopped .*try again"):
        session.run(embeddings)
    del worker.ask
    assert np.array_equal(session.run(embeddings).logits, want)


def test_nonsense_from_the_other_side_is_refused_and_harms_nothing(session):
    session.run(text(4, hidden=16))
    name = next(iter(session.plan(4).maps))
    frame = session.plan(4).maps[name].frame
    good = session._client.encrypt(frame, np.zeros((8, 16), np.int64))
    for bad in (b"", b"\0" * 500, good[:-20], good[: len(good) // 2]):
        with pytest.raises(ChildError, match="run: "):
            session._server.run(name, bad)
    assert session._server.run(name, good)


def test_no_secret_key_goes_to_the_server_or_into_a_repr(concrete_python):
    session = ConcreteSession(random_weights(hidden=16, intermediate=32, seed=3), RANGES)
    sent = []
    session._server._worker.start()
    write = session._server._worker._process.stdin.write
    session._server._worker._process.stdin.write = lambda data: (sent.append(data), write(data))[1]
    session.run(text(4, hidden=16))
    secrets = [held.secret for held in session._client._held.values()]
    everything = b"".join(sent)
    assert len(secrets) == 9
    for secret in secrets:
        assert len(secret) > 1000
        assert secret not in everything
        assert secret[200:300] not in everything
        assert repr(secret)[2:50] not in repr(session) + repr(session._client._held)
    session.close()


def test_relu_on_the_server_is_a_step_of_the_table_off_at_most(concrete_python):
    weights = random_weights(hidden=16, intermediate=8)
    session = ConcreteSession(weights, RANGES, relu="server")
    circuit = session.plan(4)
    session.prepare(circuit)
    client, server = session.roles()
    own = circuit.layers[-1].down
    rng = np.random.default_rng(0)
    for reach in (0.3, 0.5, 1.0):
        most = int(own.frame.inputs[0].most * reach)
        integers = rng.integers(-most, most + 1, (1, 16))
        reply = server.run(own.frame.name, client.encrypt(own.frame, integers))
        gap = np.abs(client.decrypt(own.frame, reply) - own.apply(integers))
        assert (gap <= np.abs(own.second).sum(0)).all()
    assert session.run(text(4, hidden=16)).rounds == len(circuit.maps) == 8
    session.close()


def test_a_worker_of_another_version_is_refused(concrete_python, monkeypatch):
    monkeypatch.setattr("thex_hf.concrete.environment.VERSION", 99)
    worker = Worker(concrete_python, "server")
    with pytest.raises(BackendUnavailable, match=r"speaks version 1, this release 99.*--overwrite"):
        worker.start()
    assert worker.pid is None


def test_packages_of_another_version_are_refused(concrete_python, monkeypatch):
    wanted = {**pins(), "concrete-python": "1.0.0"}
    monkeypatch.setattr("thex_hf.concrete.environment.pins", lambda: wanted)
    with pytest.raises(BackendUnavailable, match=r"concrete-python 2\..* made for 1\.0\.0"):
        Worker(concrete_python, "server").start()


@pytest.mark.parametrize("program", ["/bin/true", "/nonexistent/python"])
def test_what_is_no_worker_is_refused(program):
    with pytest.raises(BackendUnavailable, match="does not start"):
        Worker(Path(program), "server").start()
