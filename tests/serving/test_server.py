"""Client and server as products, joined by bytes: the near transport is the server itself."""

import json

import numpy as np
import pytest
from msgspec.structs import replace
from served import Near, load

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
from thex_hf.protocol import messages
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keyfile import KeyFile, to_bytes
from thex_hf.protocol.messages import Message
from thex_hf.serving.engine_cache import EngineCache
from thex_hf.serving.runs import Runs
from thex_hf.serving.server import ThexServer

TEXT = "A warm, funny and beautifully acted film."


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def half():
    return ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))


@pytest.fixture(scope="module")
def encrypted(model):
    """A server on ciphertexts, its weights encoded."""
    server = serve(model, "seal")
    server.prepare()
    return server


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
    return model(**row).logits[0].detach().numpy()


def client_of(half, server, owner="anyone", **options):
    options = {"backend": server.backend.name, **options}
    client = ThexClient(half, Near(server, owner), **options)
    client.client.pause = 0.0
    return client


def prepared(client, text=TEXT):
    """A run of the client that has not begun, and the name of its keys."""
    embeddings = client.half.embed(*client.half.tokenise(text))
    plan = client.client.plan(len(embeddings))
    keys = client.client.keys_for(plan)
    return ClientRun(plan, keys.engine, keys.key_id, embeddings), keys.name


def begun(client, text=TEXT):
    """A run of the client at its first visit: the run, the message that came, its keys."""
    run, keys = prepared(client, text)
    return run, client.server.answer(run.request(), keys, run.run), keys


@pytest.mark.parametrize("name", ["server", "encrypted"])
def test_a_client_without_weights_gets_the_models_answer(model, half, name, tmp_path, request):
    server = request.getfixturevalue(name)
    before = len(server.engines)
    client = client_of(half, server, keys=tmp_path / "keys")
    answer = client.classify(TEXT)
    np.testing.assert_allclose(answer.logits, clear_logits(model, TEXT), atol=1e-3)
    assert (answer.label, answer.tokens) == ("POSITIVE", 11)
    assert answer.score > 0.9
    assert (answer.result.plan.shape.tokens, answer.result.rounds) == (16, 6)
    assert answer.result.key_bytes > 0
    again = client_of(half, server, keys=tmp_path / "keys")
    assert np.allclose(again.classify(TEXT).logits, answer.logits, atol=1e-3)
    assert len(server.engines) == before + 1  # the keys were found again
    assert len(server.runs) == 0
    json.dumps(answer.to_json())


def test_weights_are_encoded_before_any_client_comes(model, half):
    server = serve(model)
    stores = server._model._stores
    assert not stores
    ticks = []
    server.prepare(lambda: ticks.append(1))
    encoded = sum(len(store) for store in stores.values())
    assert ticks
    client_of(half, server).classify(TEXT)
    assert sum(len(store) for store in stores.values()) == encoded


def test_a_server_that_lost_the_keys_gets_them_again(half, server):
    client = client_of(half, server)
    client.classify("Fine.")
    _, keys = prepared(client)
    assert server.drop_keys(keys)
    client.classify("Fine.")
    assert server.has_keys(keys)


def test_a_text_whose_run_was_lost_is_sent_again(half, server):
    class Forgetful(Near):
        left = 2

        def answer(self, data, keys, run):
            if self.left and Message.from_bytes(data).step == 3:
                self.left -= 1
                self.server.runs.drop((self.owner, keys, run))
            return super().answer(data, keys, run)

    client = ThexClient(half, Forgetful(server), backend="clear")
    client.client.pause = 0.0
    client.classify(TEXT)
    client.server.left = 3
    with pytest.raises(ExpiredError, match="send the text again"):
        client.classify(TEXT)


def test_a_run_that_the_client_breaks_off_is_given_up(half, server):
    class Broken(Near):
        def answer(self, data, keys, run):
            super().answer(data, keys, run)
            return b"nonsense"

    with pytest.raises(WireError):
        ThexClient(half, Broken(server), backend="clear").classify(TEXT)
    assert len(server.runs) == 0


def test_runs_of_two_clients_do_not_mix(half, server, model):
    one, two = client_of(half, server), client_of(half, server)
    texts = {one: "A warm film.", two: "Dull and far too long."}
    states = {client: begun(client, text) for client, text in texts.items()}
    while any(run.logits is None for run, _, _ in states.values()):
        for client, (run, message, keys) in list(states.items()):
            reply = run.receive(message)
            if reply is not None:
                states[client] = (run, client.server.answer(reply, keys, run.run), keys)
    for client, (run, _, _) in states.items():
        np.testing.assert_allclose(run.logits, clear_logits(model, texts[client]), atol=1e-3)


def test_anothers_run_and_keys_cannot_be_used(half, server):
    ann, bob = client_of(half, server, "ann"), client_of(half, server, "bob")
    run, message, keys = begun(ann)
    reply = run.receive(message)
    with pytest.raises(ExpiredError, match=f"no run {run.run}"):
        bob.server.answer(reply, keys, run.run)
    with pytest.raises(ExpiredError):
        bob.server.answer(reply, prepared(bob)[1], run.run)
    fresh, _ = prepared(ann)
    with pytest.raises(KeyMismatch, match="send them first"):
        bob.server.answer(fresh.request(), keys, fresh.run)
    with pytest.raises(KeyMismatch, match="this side uses"):
        bob.server.answer(fresh.request(), prepared(bob)[1], fresh.run)
    bob.server.give_up(keys, run.run)
    assert ann.server.answer(reply, keys, run.run)  # the owner goes on


def test_a_replayed_message_is_refused_and_harms_nothing(half, server):
    client = client_of(half, server)
    run, message, keys = begun(client)
    reply = run.receive(message)
    following = server.answer(reply, keys)
    with pytest.raises(WireError, match="expected the reply to step 1"):
        server.answer(reply, keys)
    while (reply := run.receive(following)) is not None:
        following = server.answer(reply, keys)
    with pytest.raises(ExpiredError):
        server.answer(replace(Message.from_bytes(following), type="reply").to_bytes(), keys)
    with pytest.raises(WireError, match="takes requests and replies"):
        server.answer(following, keys)
    with pytest.raises(WireError, match="was sent as one of"):
        server.answer(message, keys, run="0" * 32)


def test_a_run_is_given_up_after_a_while(half, server, clock):
    client = client_of(half, server)
    run, message, keys = begun(client)
    clock.now += 61
    with pytest.raises(ExpiredError, match="send the text again"):
        server.answer(run.receive(message), keys)
    assert len(server.runs) == 0
    client.classify(TEXT)


def test_too_many_runs_are_refused_until_one_ends(half, server):
    client = client_of(half, server)
    begun(client)
    run, _, keys = begun(client)
    with pytest.raises(BusyError, match="2 of them under these keys"):
        begun(client)
    begun(client_of(half, server))
    with pytest.raises(BusyError, match="3 runs"):
        begun(client_of(half, server))
    client.server.give_up(keys, run.run)
    begun(client)


def test_keys_that_the_server_cannot_use(half, server):
    client = client_of(half, server)
    run, keys = prepared(client)
    request = Message("request", run.plan.id, run.key_id, "1" * 32, 0, [])
    with pytest.raises(KeyMismatch, match="send them first"):
        server.answer(request.to_bytes(), "0" * 64)
    with pytest.raises(PlanMismatch, match="ask it for its plans"):
        server.answer(replace(request, plan="2" * 32).to_bytes(), keys)
    parts = {"relinearisation": b"", "rotations": b"", "public": b""}
    right = {"kind": "evaluation", "plan_id": run.plan.key_set, "backend": "clear"}
    wrong = [
        ({"plan_id": "3" * 32}, PlanMismatch, "key set"),
        ({"kind": "secret"}, KeyMismatch, "must never leave the client"),
        ({"backend": "seal"}, KeyMismatch, "of backend 'clear'"),
        ({"key_id": "4" * 32}, KeyMismatch, "damaged or exchanged"),
        ({"parts": {}}, WireError, "lacks its part"),
    ]
    for changes, error, words in wrong:
        file = KeyFile(**{**right, "key_id": run.key_id, "parts": parts, **changes})
        with pytest.raises(error, match=words):
            server.take_keys(to_bytes(file))
    with pytest.raises(WireError, match="truncated or damaged"):
        server.take_keys(b"nonsense")


def test_every_message_is_decoded_once(model, half, monkeypatch):
    seen, decoder = [], messages._DECODER

    class Counting:
        def decode(self, data):
            seen.append(data)
            return decoder.decode(data)

    monkeypatch.setattr(messages, "_DECODER", Counting())
    client_of(half, serve(model), "ann").classify(TEXT)
    assert len(seen) == len(set(seen)) > 2


def test_keys_longest_unused_make_room(model, half):
    server = serve(model, engines=EngineCache(most_bytes=1))
    one, two = client_of(half, server, "ann"), client_of(half, server, "bob")
    one.classify(TEXT)
    two.classify(TEXT)
    assert len(server.engines) == 1
    one.classify(TEXT)  # sent again
    assert len(server.engines) == 1


def test_keys_unused_for_too_long_go(model, half):
    clock = Clock()
    server = serve(model, engines=EngineCache(seconds=60, clock=clock))
    one, two = client_of(half, server, "ann"), client_of(half, server, "bob")
    one.classify(TEXT)
    two.classify(TEXT)
    clock.now = 50
    one.classify(TEXT)
    clock.now = 100  # bob's are unused for longer than ann's
    assert len(server.engines) == 1
    assert any(name.owner == "ann" for name in server.engines._entries)
    two.classify(TEXT)  # sent again
    assert len(server.engines) == 2


def test_a_malformed_request_leaves_no_run_behind(half, server):
    client = client_of(half, server)
    run, keys = prepared(client)
    bad = Message("request", run.plan.id, run.key_id, "4" * 32, 0, [[b"x"]])
    with pytest.raises(WireError):
        server.answer(bad.to_bytes(), keys)
    assert len(server.runs) == 0


def test_no_message_of_a_client_exceeds_what_the_server_takes(encrypted, half):
    server = encrypted
    client = client_of(half, server)
    run, message, keys = begun(client)
    sizes = []
    while (reply := run.receive(message)) is not None:
        sizes.append(len(reply))
        message = server.answer(reply, keys)
    assert max(sizes) < server.served().most_bytes < 8 * max(sizes)


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


def test_a_server_cannot_choose_an_engine_that_encrypts_nothing(half, server):
    """Plans name no engine, so a server that says 'clear' would be sent the text in the open."""
    assert server.info()["backend"] == "clear"
    with pytest.raises(SecurityError, match=r"asks for backend 'clear'.*with 'seal'"):
        ThexClient(half, Near(server))


def test_a_text_beyond_the_servers_buckets_is_refused(half, server):
    with pytest.raises(InputError, match="the server takes 16 at most"):
        client_of(half, server).classify("word " * 40)
