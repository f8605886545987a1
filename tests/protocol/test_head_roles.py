"""Both roles with heads that read every token: shapes, padding, strictness, real encryption."""

import numpy as np
import pytest
from reference import clear_logits, polynomial_logits, random_polynomial_weights, random_weights

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.errors import PlanMismatch, WireError
from thex_hf.local.session import LocalSession
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.messages import Message
from thex_hf.protocol.server import ServedModel, ServerRun

PROTOCOLS = ("client-aided", "refresh", "one-shot")
RANGES = [
    {"value": 8.0, "layer_out": 8.0, "scores": 8.0, "ffn_pre": 8.0}
    | {"attention_out": 7.0, "stream_in": 7.0}
] * 2
FLOOD = 0.02  # above what the polynomial protocols add to the logits


def make(protocol, head, **sizes):
    kind = random_weights if protocol == "client-aided" else random_polynomial_weights
    return kind(head=head, **sizes)


def session(weights, protocol, backend="clear", **options):
    ranges = RANGES[: len(weights.layers)]
    options = {"ranges": ranges, "processes": 1, **options}
    return LocalSession(weights, get_backend(backend), PlanOptions(protocol), **options)


def wanted_logits(weights, text):
    if weights.form == "polynomial":
        return polynomial_logits(weights, text)
    return clear_logits(weights, text, np.ones(len(text)))


def text_of(length, hidden=32, seed=3):
    return np.random.default_rng(seed).normal(size=(length, hidden)) * 0.5


@pytest.mark.parametrize("head", ["tokens", pytest.param("mean", marks=pytest.mark.slow)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_text_shorter_than_its_bucket_and_one_of_several_tiles(protocol, head):
    weights = make(protocol, head, layers=1, hidden=24, heads=3, intermediate=30, labels=9)
    own = session(weights, protocol)
    for length in (11, 70):
        text = text_of(length, 24)
        outcome = own.run(text)
        found = outcome.logits
        assert found.shape == ((length, 9) if head == "tokens" else (9,))
        assert outcome.plan.shape.tokens > length
        np.testing.assert_allclose(found, wanted_logits(weights, text), atol=FLOOD)


@pytest.mark.parametrize(
    ("protocol", "head"),
    [
        ("client-aided", "tokens"),
        pytest.param("client-aided", "mean", marks=pytest.mark.slow),
        pytest.param("refresh", "tokens", marks=pytest.mark.slow),
        ("refresh", "mean"),
        pytest.param("one-shot", "tokens", marks=pytest.mark.slow),
        pytest.param("one-shot", "mean", marks=pytest.mark.slow),
    ],
)
def test_real_encryption(protocol, head):
    weights = make(protocol, head, layers=1, hidden=8, intermediate=8, labels=3)
    text = text_of(5, 8)
    outcome = session(weights, protocol, "seal").run(text)
    atol = 1e-3 if protocol == "client-aided" else FLOOD
    np.testing.assert_allclose(outcome.logits, wanted_logits(weights, text), atol=atol)
    assert outcome.rounds == {"client-aided": 3, "refresh": 2, "one-shot": 1}[protocol]


@pytest.mark.parametrize("processes", [1, 2])
def test_many_texts_go_one_by_one_whatever_the_packing(processes):
    weights = make("refresh", "tokens", layers=1, hidden=16, intermediate=16, labels=3)
    own = session(weights, "refresh", packing="batch", processes=processes)
    given = [text_of(length, 16, seed=length) for length in (3, 16, 7)]
    outcomes = own.run_many(given)
    assert [outcome.batch for outcome in outcomes] == [1, 1, 1]
    for text, outcome in zip(given, outcomes, strict=True):
        assert outcome.logits.shape == (len(text), 3)
        np.testing.assert_allclose(outcome.logits, wanted_logits(weights, text), atol=FLOOD)
    assert not any(batch for _, _, batch in own.client.requests([10] * 300))


def test_a_server_refuses_the_plan_of_another_head_and_a_request_without_its_mask():
    backend = get_backend("clear")
    weights = make("one-shot", "tokens", layers=1, hidden=16, intermediate=16)
    plan = session(weights, "one-shot").plan(5)
    secret, keys = backend.generate(key_request(plan))
    client, server = (
        backend.client(plan.parameters, secret),
        backend.server(plan.parameters, keys, plan.rotations),
    )
    same_values = make("one-shot", "mean", layers=1, hidden=16, intermediate=16)
    with pytest.raises(PlanMismatch, match="model"):
        ServerRun(ServedModel(same_values), plan, server, keys.key_id)
    run = ClientRun(plan, client, keys.key_id, text_of(5, 16))
    message = Message.from_bytes(run.request())
    assert len(message.parts) == len(plan.schedule.inputs) == 4
    short = Message("request", plan.id, keys.key_id, run.run, 0, message.parts[:-1]).to_bytes()
    with pytest.raises(WireError, match=r"expected .* ciphertexts in the parts"):
        ServerRun(ServedModel(weights), plan, server, keys.key_id).start(short)


@pytest.mark.parametrize("head", ["tokens", pytest.param("mean", marks=pytest.mark.slow)])
def test_the_polynomial_client_is_not_shown_padded_tokens(head):
    """What it decrypts beside the logits of its own tokens is the flood, in every slot."""
    backend = get_backend("clear")
    weights = make("one-shot", head, layers=1, hidden=16, intermediate=16, labels=3)
    plan = session(weights, "one-shot").plan(5)
    secret, keys = backend.generate(key_request(plan))
    client = backend.client(plan.parameters, secret)
    server = backend.server(plan.parameters, keys, plan.rotations)
    text = text_of(5, 16)
    run = ClientRun(plan, client, keys.key_id, text)
    answer = ServerRun(ServedModel(weights), plan, server, keys.key_id).start(run.request())
    (ciphertexts,) = Message.from_bytes(answer).parts
    layout = plan.schedule.answer
    held = np.zeros((layout.tokens, 3))
    wanted = np.atleast_2d(wanted_logits(weights, text))
    held[: len(wanted)] = wanted
    large = 2.0 ** plan.options["waste_bits"]
    for data, own, reads in zip(ciphertexts, layout.pack(held), layout.reads(), strict=True):
        rest = client.decrypt_complex(data) - own
        assert np.abs(rest.real[reads]).max() < 1.1 * 2.0**-8
        for part in (rest.real[~reads], rest.imag):
            assert np.abs(part).max() < 1.01 * large
            assert np.median(np.abs(part)) == pytest.approx(large / 2, rel=0.1)
