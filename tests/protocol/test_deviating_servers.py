"""What a client does with ciphertexts that no honest server sends: refuse, or answer alike."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from reference import random_polynomial_weights, random_weights

from thex_hf.backends.base import KeyRequest
from thex_hf.backends.registry import get_backend
from thex_hf.bounds import within
from thex_hf.circuits.dispatch import batch_plan_for, plan_for
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.errors import RangeError, WireError
from thex_hf.protocol.client import WORD_BITS, BatchClientRun, ClientRun
from thex_hf.protocol.messages import Message

KINDS = ("client-aided", "exact", "estimate-on-server", "refresh", "one-shot", "batch")
AIDED = KINDS[:3]


@cache
def plan_of(kind):
    if kind == "batch":
        return batch_plan_for(
            random_polynomial_weights(hidden=8, intermediate=8), 16, None, PlanOptions("refresh")
        )
    if kind in AIDED:
        softmax = "estimate" if kind == "client-aided" else kind
        return plan_for(random_weights(), 16, None, PlanOptions(softmax=softmax))
    return plan_for(random_polynomial_weights(), 16, None, PlanOptions(kind))


@cache
def client_of(kind, backend):
    plan, engines = plan_of(kind), get_backend(backend)
    secret, _ = engines.generate(KeyRequest(plan.parameters, (), relinearisation=False))
    return engines.client(plan.parameters, secret), secret.key_id


def start(kind, backend, engine=None):
    own, key_id = client_of(kind, backend)
    plan, text = (
        plan_of(kind),
        np.random.default_rng(0).normal(size=(5, 8 if kind == "batch" else 32)),
    )
    if kind == "batch":
        return BatchClientRun(plan, engine or own, key_id, [text] * 3)
    return ClientRun(plan, engine or own, key_id, text)


def deviate(run, values, level=None):
    """All messages of a server that shows chosen numbers; what the client sent, by counts."""
    plan, signs = run.plan, np.random.default_rng(1).choice([-1.0, 1.0], run.engine.slots)
    parts = [[(p.sends.ciphertexts, p.level) for p in v.parts] for v in plan.schedule.round_trips]
    sent = [[len(part) for part in Message.from_bytes(run.request()).parts]]
    for step, wanted in enumerate([*parts, [(plan.schedule.answer.ciphertexts, 0)]]):
        made = []
        for count, own in wanted:
            at = own if level is None else level
            room = 2.0 ** (plan.parameters.modulus_bits(at) - plan.parameters.scale_bits)
            vector = np.clip(values * signs, -room, room)
            made.append([run.engine.encrypt(vector, at)] * count)
        kind = "visit" if step < len(parts) else "answer"
        reply = run.receive(Message(kind, plan.id, run.key_id, run.run, step, made).to_bytes())
        sent.append(reply and [len(part) for part in Message.from_bytes(reply).parts])
    assert sent[-1] is None
    return sent


@pytest.mark.parametrize("kind", KINDS)
def test_another_level_than_the_plans_is_refused_before_decryption(kind, monkeypatch):
    run = start(kind, "seal")
    decrypted = []
    monkeypatch.setattr(run.engine, "_decryptor", type("Spy", (), {"decrypt": decrypted.append}))
    with pytest.raises(WireError, match=r"expected a ciphertext at level \d, got level \d+"):
        deviate(run, 1.0, level=run.plan.parameters.top_level)
    assert decrypted == []


@pytest.mark.parametrize("backend", ["seal", "clear"])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_shown_the_client_answers_alike_and_tells_at_the_end(kind, backend):
    usual = deviate(start(kind, backend), 0.5)
    for values in (1e-9, 3.0, 1e300):
        run = start(kind, backend)
        assert deviate(run, values) == usual
        if kind in AIDED and values == 1e300:
            with pytest.raises(RangeError, match="ran away"):
                run.check()
        else:
            run.check()  # what is masked has no bound that a client could know


class Shows:
    """An engine whose ciphertexts hold what no encoder makes."""

    def __init__(self, engine, values):
        self.engine, self.values, self.slots = engine, values, engine.slots

    def encrypt(self, vector, level):
        assert np.isfinite(vector).all()
        return self.engine.encrypt(vector, level)

    def decrypt(self, data, level=None):
        return np.resize(self.values, self.slots)


@pytest.mark.parametrize("kind", AIDED)
@pytest.mark.parametrize("values", [[np.nan], [np.inf, 0.0], [1e308, -1e308], [1.0, np.nan]])
def test_numbers_that_are_none_are_answered_too(kind, values):
    run = start(kind, "clear", Shows(client_of(kind, "clear")[0], values))
    slots, bits = run.engine.slots, run.plan.parameters.scale_bits
    for visit in run.plan.schedule.round_trips:
        for part in visit.parts:
            if part.op != "refresh":
                replies = run._reply(part, [b""] * part.sends.ciphertexts)
                assert [len(own) for own in replies] == [own.ciphertexts for own, _ in part.returns]
    with pytest.raises(RangeError):
        run.check()
    assert np.abs(run._encodable(np.full(slots, np.inf))).max() == 2.0 ** (WORD_BITS - bits)


def test_cutting_keeps_what_fits():
    values = np.array([-3.0, 0.0, 2.5])
    cut, largest = within(values, 4.0)
    assert (cut == values).all()
    assert largest == 3.0
    cut, largest = within(np.array([np.nan, np.inf, -9.0]), 4.0)
    assert (cut == [0.0, 4.0, -4.0]).all()
    assert largest == np.inf


def test_the_encoder_is_given_a_vector_of_one_number_like_any_other(monkeypatch):
    engine, _ = client_of("client-aided", "seal")
    given = []

    class Encoder:
        def __init__(self, encoder):
            self.encoder = encoder

        def encode(self, values, *rest):
            given.append(values)
            self.encoder.encode(values, *rest)

    monkeypatch.setattr(engine._codec, "_encoder", Encoder(engine._codec._encoder))
    for value in (0.0, 1.0):
        engine.encrypt(np.full(engine.slots, value), 1)
    assert [type(values) for values in given] == [list, list]
