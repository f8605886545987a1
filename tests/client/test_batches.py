"""Many texts in one request to a server elsewhere."""

import numpy as np
import pytest
from served import Near, load

import thex_hf
from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.errors import InputError, PlanMismatch, WireError
from thex_hf.local.session import LocalSession
from thex_hf.serving.server import ThexServer

TEXTS = ["A warm, funny film.", "Dull and far too long.", "A masterpiece of wit."]


class Counting(Near):
    """Counts what is sent."""

    def __init__(self, server):
        super().__init__(server)
        self.runs = set()

    def answer(self, data, keys, run):
        self.runs.add(run)
        return super().answer(data, keys, run)


def serve(form="polynomial", **options):
    model = load(form)
    options = {"options": PlanOptions("refresh"), "buckets": (16,), **options}
    weights = model.encoder_weights()
    return ThexServer(weights, get_backend("clear"), model.config.ranges, **options)


@pytest.fixture(scope="module")
def server():
    return serve(batches=True)


def client_of(server, packing="auto"):
    half = ClientHalf.open(thex_hf.bundled_checkpoint("polynomial"))
    client = ThexClient(half, Counting(server), backend="clear")
    client.client.packing = packing
    return client


def test_texts_share_a_request_and_get_the_answers_they_get_alone(server):
    client = client_of(server, "batch")
    answers = client.classify_many(TEXTS)
    assert len(client.server.runs) == 1
    assert [answer.result.batch for answer in answers] == [3, 3, 3]
    assert [answer.result.keygen_seconds > 0 for answer in answers] == [True, False, False]
    for text, answer in zip(TEXTS, answers, strict=True):
        alone = client.classify(text)
        assert answer.label == alone.label
        np.testing.assert_allclose(answer.logits, alone.logits, atol=0.05)
    assert len(server.runs) == 0


def test_texts_go_alone_where_that_is_asked_for_or_expected_to_be_faster(server):
    for packing in ("text", "auto"):
        client = client_of(server, packing)
        assert [answer.result.batch for answer in client.classify_many(TEXTS)] == [1, 1, 1]
        assert len(client.server.runs) == 3


def test_as_many_texts_as_the_server_names_go_together_by_themselves(server):
    fewest = server.info()["batch_from"]["16"]
    assert 3 < fewest < server.info()["batches"]["16"]["sentences"]
    client = client_of(server).client
    few, many = client.requests([10] * (fewest - 1)), client.requests([10] * fewest)
    assert not any(batch for _, _, batch in few)
    assert [(len(texts), batch) for _, texts, batch in many] == [(fewest, True)]
    near = LocalSession(
        server.weights, server.backend, PlanOptions("refresh"), ranges=server.ranges
    )
    assert [batch for _, _, batch in near.client.requests([10] * fewest)] == [True]
    assert not any(batch for _, _, batch in near.client.requests([10] * (fewest - 1)))


@pytest.mark.parametrize("number", [0, "7", True, 10**9, None, [3]])
def test_a_number_that_no_batch_pays_from_is_refused(server, number):
    class Lying(Near):
        def info(self):
            return {**super().info(), "batch_from": {"16": number}}

    half = ClientHalf.open(thex_hf.bundled_checkpoint("polynomial"))
    with pytest.raises(WireError, match="pays from"):
        ThexClient(half, Lying(server), backend="clear")


def test_a_server_that_names_no_number_gets_full_batches(server):
    class Silent(Near):
        def info(self):
            info = super().info()
            del info["batch_from"]
            return info

    half = ClientHalf.open(thex_hf.bundled_checkpoint("polynomial"))
    client = ThexClient(half, Silent(server), backend="clear").client
    most = client.plans.batches[16].options["sentences"]
    assert len(client.requests([10] * (most - 1))) == most - 1
    assert len(client.requests([10] * most)) == 1


def test_a_server_says_of_batches_only_if_it_takes_them(server):
    assert list(server.info()["batches"]) == ["16"]
    assert server.served().most_bytes > serve().served().most_bytes
    assert "batches" not in serve().info()
    client = client_of(serve(), "batch")
    assert [answer.result.batch for answer in client.classify_many(TEXTS)] == [1, 1, 1]


def test_protocols_and_models_without_batches_offer_none():
    server = serve("the-x", options=PlanOptions("client-aided"), batches=True)
    assert server.info()["batches"] == {}
    assert server.batch_plan(16) is None


def test_a_bad_text_is_refused_before_anything_is_sent(server):
    client = client_of(server, "batch")
    with pytest.raises(InputError):
        client.classify_many([TEXTS[0], ""])
    assert not client.server.runs


def test_batches_of_another_model_or_kind_are_refused(server):
    class Lying(Near):
        def info(self):
            info = super().info()
            return {**info, "batches": info["plans"]}

    half = ClientHalf.open(thex_hf.bundled_checkpoint("polynomial"))
    with pytest.raises(PlanMismatch, match="one text"):
        ThexClient(half, Lying(server), backend="clear")
