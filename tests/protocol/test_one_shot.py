"""One request, one reply, under real encryption at 128 bits."""

import numpy as np
from reference import polynomial_logits, random_polynomial_weights

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.local.session import LocalSession
from thex_hf.protocol.messages import Message


def test_one_request_one_reply():
    weights = random_polynomial_weights(layers=1, hidden=16, intermediate=24, labels=3)
    session = LocalSession(
        weights, get_backend("seal"), PlanOptions("one-shot"),
        ranges=[{"attention_out": 7.0, "stream_in": 5.0}], processes=1,
    )  # fmt: skip
    sent, carried = [], session.client.server.answer

    def recorded(data, keys, run):
        reply = carried(data, keys, run)
        sent.extend(map(Message.from_bytes, (data, reply)))
        return reply

    session.client.server.answer = recorded
    text = np.random.default_rng(0).normal(size=(7, 16)) * 0.7
    outcome = session.run(text)
    assert [message.type for message in sent] == ["request", "answer"]
    assert outcome.rounds == 1
    wanted = polynomial_logits(weights, text)
    np.testing.assert_allclose(outcome.logits, wanted, atol=0.02)
    assert outcome.key_bytes > 1e6
    (answer,) = sent[1].parts
    assert len(answer) == 1
    # all 14 tokens of another text need no other keys and no other plan
    longer = np.random.default_rng(1).normal(size=(14, 16)) * 0.7
    again = session.run(longer)
    assert again.keygen_seconds == 0
    np.testing.assert_allclose(again.logits, polynomial_logits(weights, longer), atol=0.02)
