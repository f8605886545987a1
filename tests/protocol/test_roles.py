import numpy as np
import pytest
from reference import clear_logits, random_weights

from thex_hf.backends.base import KeyRequest
from thex_hf.backends.registry import get_backend
from thex_hf.circuits.client_aided.planner import make_plan, range_bits
from thex_hf.errors import InputError, KeyMismatch, PlanMismatch, RangeError, WireError
from thex_hf.protocol.client import ClientRun, exchange
from thex_hf.protocol.messages import Message
from thex_hf.protocol.server import ServedModel, ServerRun

RANGES = [{"value": 8.0, "layer_out": 8.0, "scores": 8.0, "ffn_pre": 8.0}] * 2


class Setting:
    """Keys, engines and plan of one model on one backend."""

    def __init__(self, backend, seed=0, tokens=16):
        self.weights = random_weights(seed=seed)
        self.plan = make_plan(self.weights, tokens, range_bits(self.weights, RANGES))
        request = KeyRequest(self.plan.parameters, self.plan.rotations, relinearisation=True)
        self.secret, self.keys = backend.generate(request)
        self.client = backend.client(self.plan.parameters, self.secret)
        self.server = backend.server(self.plan.parameters, self.keys, self.plan.rotations)
        self.model = ServedModel(self.weights)

    def client_run(self, embeddings):
        return ClientRun(self.plan, self.client, self.keys.key_id, embeddings)

    def server_run(self):
        return ServerRun(self.model, self.plan, self.server, self.keys.key_id)


@pytest.fixture(scope="module")
def clear():
    return Setting(get_backend("clear"))


@pytest.fixture(scope="module")
def seal():
    return Setting(get_backend("seal"))


@pytest.fixture
def embeddings():
    return np.random.default_rng(3).normal(size=(11, 32))


@pytest.mark.parametrize("name", ["clear", "seal"])
def test_exchange_gives_the_clear_logits(name, request, embeddings):
    setting = request.getfixturevalue(name)
    transcript = exchange(setting.client_run(embeddings), setting.server_run().answer)
    padded = np.zeros((16, 32))
    padded[:11] = embeddings
    wanted = clear_logits(setting.weights, padded, (np.arange(16) < 11) * 1.0)
    np.testing.assert_allclose(transcript.logits, wanted, atol=1e-3)
    assert np.argmax(transcript.logits) == np.argmax(wanted)
    assert transcript.rounds == setting.plan.schedule.rounds == 6
    assert transcript.bytes_up > 0 < transcript.bytes_down


def test_padding_is_invisible_to_the_result(clear):
    short = np.random.default_rng(3).normal(size=(5, 32))
    wide = Setting(get_backend("clear"), tokens=32)
    one = exchange(clear.client_run(short), clear.server_run().answer).logits
    two = exchange(wide.client_run(short), wide.server_run().answer).logits
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_a_refused_message_loses_nothing(seal, embeddings):
    client, server = seal.client_run(embeddings), seal.server_run()
    request = client.request()
    with pytest.raises(WireError):
        server.start(request[:-7])
    visit = server.start(request)
    with pytest.raises(WireError):
        client.receive(visit[: len(visit) // 2])
    reply = client.receive(visit)
    message = Message.from_bytes(reply)
    damaged = bytearray(message.parts[0][0])
    damaged[40:60] = bytes(20)
    parts = [[bytes(damaged)], *message.parts[1:]]
    with pytest.raises(WireError):
        server.reply(Message("reply", message.plan, message.key, message.run, 0, parts).to_bytes())
    with pytest.raises(WireError, match="step"):
        server.reply(Message("reply", message.plan, message.key, message.run, 1, []).to_bytes())
    visit = server.reply(reply)
    while (reply := client.receive(visit)) is not None:
        visit = server.reply(reply)
    assert np.isfinite(client.logits).all()
    with pytest.raises(WireError, match="finished"):
        server.reply(request)


def test_messages_of_others_are_refused(clear, embeddings):
    other = Setting(get_backend("clear"), seed=5)
    request = clear.client_run(embeddings).request()
    with pytest.raises(PlanMismatch, match="plan"):
        other.server_run().start(request)
    with pytest.raises(PlanMismatch, match="model"):
        ServerRun(other.model, clear.plan, clear.server, clear.keys.key_id)
    server = ServerRun(clear.model, clear.plan, clear.server, "0" * 32)
    with pytest.raises(KeyMismatch, match="keys"):
        server.start(request)
    one, two = clear.client_run(embeddings), clear.client_run(embeddings)
    with pytest.raises(WireError, match="run"):
        two.receive(clear.server_run().start(one.request()))


def test_ciphertexts_at_another_level_are_refused(seal, embeddings):
    message = Message.from_bytes(seal.client_run(embeddings).request())
    low = [[seal.client.encrypt(np.zeros(4096), 1) for _ in part] for part in message.parts]
    forged = Message("request", message.plan, message.key, message.run, 0, low).to_bytes()
    with pytest.raises(WireError, match="level 2"):
        seal.server_run().start(forged)


def test_bad_embeddings_are_refused(clear):
    with pytest.raises(InputError, match="1 to 16 embeddings"):
        clear.client_run(np.zeros((17, 32)))
    with pytest.raises(InputError, match="size 32"):
        clear.client_run(np.zeros((4, 31)))
    with pytest.raises(InputError, match="NaN"):
        clear.client_run(np.full((4, 32), np.nan))


def test_the_server_cannot_decrypt(seal):
    server = seal.server_run()
    for thing in (server, seal.server, seal.model):
        assert not [name for name in dir(thing) if "decrypt" in name or "secret" in name]
    everything = [seal.keys.relinearisation, seal.keys.rotations]
    secret = seal.secret.reveal()
    assert all(secret[64:128] not in data for data in everything)
    assert secret[64:128].hex() not in repr(seal.secret) + str(seal.secret)


def test_message_sizes_do_not_tell_the_length(seal):
    rng = np.random.default_rng(0)
    short, long = (
        Message.from_bytes(seal.client_run(rng.normal(size=(length, 32))).request())
        for length in (1, 16)
    )
    for one, two in zip(short.parts, long.parts, strict=True):
        for a, b in zip(one, two, strict=True):
            assert abs(len(a) - len(b)) < 0.05 * len(a)  # compression of random words varies


def test_values_beyond_the_modulus_are_noticed_once_the_server_is_done(seal, embeddings):
    run, server = seal.client_run(60.0 * embeddings), seal.server_run()
    message = server.start(run.request())
    while (reply := run.receive(message)) is not None:  # nothing is given up on the way
        message = server.reply(reply)
    with pytest.raises(RangeError, match="ran away"):
        run.check()


@pytest.mark.parametrize("name", ["clear", "seal"])
def test_values_beyond_the_modulus_give_no_answer(name, request, embeddings):
    setting = request.getfixturevalue(name)
    with pytest.raises(RangeError):
        exchange(setting.client_run(60.0 * embeddings), setting.server_run().answer)
