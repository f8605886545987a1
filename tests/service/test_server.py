"""Client and server as products, joined by bytes: the near transport is the server itself."""

import json
from dataclasses import replace

import numpy as np
import pytest

import thex_hf
from thex_hf.backends.registry import get_backend
from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.errors import (
    BusyError,
    ExpiredError,
    InputError,
    KeyMismatch,
    PlanMismatch,
    SecurityError,
    WireError,
)
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.messages import Message
from thex_hf.service.runs import Runs
from thex_hf.service.server import ThexServer

TEXT = "A warm, funny and beautifully acted film."


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def model():
    return thex_hf.ThexBertForSequenceClassification.from_pretrained(
        thex_hf.bundled_checkpoint()
    ).float()


@pytest.fixture(scope="module")
def half():
    return ClientHalf.open(thex_hf.bundled_checkpoint())


def serve(model, backend="clear", **options):
    options = {"buckets": (16,), **options}
    return ThexServer(
        model.encoder_weights(), get_backend(backend), ranges=model.config.ranges, **options
    )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(model, clock):
    return serve(model, runs=Runs(most=3, most_of_keys=2, seconds=60, clock=clock))


def clear_logits(model, text):
    from transformers import AutoTokenizer

    row = AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())(text, return_tensors="pt")
    return model.eval()(**row).logits[0].detach().numpy()


def begun(client, server, text=TEXT):
    """A run of the client at its first visit: the run, and the message that came."""
    embeddings = client.half.embed(*client.half.tokenise(text))
    plan = client.plan(len(embeddings))
    keys = client._keys(plan)
    run = ClientRun(plan, keys.engine, keys.evaluation.key_id, embeddings)
    return run, server.answer(run.request())


@pytest.mark.parametrize("backend", ["clear", "seal"])
def test_a_client_without_weights_gets_the_models_answer(model, half, backend, tmp_path):
    server = serve(model, backend)
    client = ThexClient(half, server, keys=tmp_path / "keys")
    answer = client.classify(TEXT)
    np.testing.assert_allclose(answer.logits, clear_logits(model, TEXT), atol=1e-3)
    assert (answer.tokens, answer.bucket, answer.rounds) == (11, 16, 6)
    assert answer.key_bytes > 0
    again = ThexClient(half, server, keys=tmp_path / "keys")
    assert np.allclose(again.classify(TEXT).logits, answer.logits, atol=1e-3)
    assert len(server._engines) == 1  # the keys were found again
    assert len(server.runs) == 0


def test_a_server_that_lost_the_keys_gets_them_again(half, server):
    client = ThexClient(half, server)
    client.classify("Fine.")
    (key_id,) = server._engines
    assert server.drop_keys(key_id)
    client.classify("Fine.")
    assert server.has_keys(key_id)


def test_runs_of_two_clients_do_not_mix(half, server, model):
    one, two = ThexClient(half, server), ThexClient(half, server)
    texts = {one: "A warm film.", two: "Dull and far too long."}
    states = {client: begun(client, server, text) for client, text in texts.items()}
    while any(run.logits is None for run, _ in states.values()):
        for client, (run, message) in list(states.items()):
            reply = run.receive(message)
            if reply is not None:
                states[client] = (run, server.answer(reply))
    for client, (run, _) in states.items():
        np.testing.assert_allclose(run.logits, clear_logits(model, texts[client]), atol=1e-3)


def test_another_clients_run_cannot_be_continued(half, server):
    one, two = ThexClient(half, server), ThexClient(half, server)
    run, message = begun(one, server)
    two.classify(TEXT)
    other = next(iter(two._made.values())).evaluation.key_id
    reply = run.receive(message)
    foreign = replace(Message.from_bytes(reply), key=other).to_bytes()
    with pytest.raises(ExpiredError, match=f"no run {run.run} under keys {other}"):
        server.answer(foreign)
    assert server.answer(reply)  # the owner goes on


def test_a_replayed_message_is_refused_and_harms_nothing(half, server):
    client = ThexClient(half, server)
    run, message = begun(client, server)
    reply = run.receive(message)
    following = server.answer(reply)
    with pytest.raises(WireError, match="expected the reply to step 1"):
        server.answer(reply)
    while (reply := run.receive(following)) is not None:
        following = server.answer(reply)
    with pytest.raises(ExpiredError):
        server.answer(replace(Message.from_bytes(following), type="reply").to_bytes())


def test_a_run_is_given_up_after_a_while(half, server, clock):
    client = ThexClient(half, server)
    run, message = begun(client, server)
    clock.now += 61
    with pytest.raises(ExpiredError, match="send the text again"):
        server.answer(run.receive(message))
    assert len(server.runs) == 0
    client.classify(TEXT)


def test_too_many_runs_are_refused_until_one_ends(half, server):
    client = ThexClient(half, server)
    begun(client, server)
    begun(client, server)
    with pytest.raises(BusyError, match="2 of them under these keys"):
        begun(client, server)
    other = ThexClient(half, server)
    begun(other, server)
    with pytest.raises(BusyError, match="3 runs"):
        begun(ThexClient(half, server), server)


def test_keys_and_plans_that_the_server_does_not_have(half, server):
    client = ThexClient(half, server)
    run, _ = begun(client, server)
    request = Message("request", run.plan.id, "0" * 32, "1" * 32, 0, [])
    with pytest.raises(KeyMismatch, match="send them first"):
        server.answer(request.to_bytes())
    with pytest.raises(PlanMismatch, match="ask it for its plans"):
        server.answer(replace(request, plan="2" * 32).to_bytes())
    with pytest.raises(PlanMismatch, match="key set"):
        server.take_keys("3" * 32, next(iter(client._made.values())).evaluation)


def test_a_malformed_request_leaves_no_run_behind(half, server):
    client = ThexClient(half, server)
    client.classify(TEXT)
    keys = next(iter(client._made.values())).evaluation
    bad = Message("request", client.plan(5).id, keys.key_id, "4" * 32, 0, [[b"x"]])
    with pytest.raises(WireError):
        server.answer(bad.to_bytes())
    assert len(server.runs) == 0


def test_a_client_refuses_servers_it_cannot_trust(half, server):
    class Told:
        def __init__(self, **changes):
            self.changes = changes

        def info(self):
            return {**json.loads(json.dumps(server.info())), **self.changes}

    plans = json.loads(json.dumps(server.info()["plans"]))
    weak = {"16": {**plans["16"], "prime_bits": [60] * len(plans["16"]["prime_bits"])}}
    with pytest.raises(SecurityError, match="insecure"):
        ThexClient(half, Told(plans=weak))
    with pytest.raises(WireError, match="altered"):
        ThexClient(half, Told(plans={"16": {**plans["16"], "labels": 3}}))
    for nothing in ({}, None, "plans", {str(i): plans["16"] for i in range(50)}):
        with pytest.raises(WireError, match="plan"):
            ThexClient(half, Told(plans=nothing))


def test_a_text_beyond_the_servers_buckets_is_refused(half, server):
    with pytest.raises(InputError, match="the server takes 16 at most"):
        ThexClient(half, server).classify("word " * 40)
