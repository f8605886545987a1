"""Many texts of one session: in one request, or each in its own."""

import numpy as np
import pytest
from reference import polynomial_logits, random_polynomial_weights, random_weights

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.errors import OptionError
from thex_hf.local.session import LocalSession

RANGES = [{"attention_out": 7.0, "stream_in": 7.0, "value": 7.0}] * 2


def session(weights, protocol="refresh", **options):
    options = {"ranges": RANGES, "processes": 1, **options}
    return LocalSession(weights, get_backend("clear"), PlanOptions(protocol), **options)


def texts(lengths, hidden=32):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, hidden)) * 0.5 for length in lengths]


def test_texts_of_one_bucket_share_a_request_and_keep_their_order():
    weights = random_polynomial_weights()
    given = texts([3, 20, 16, 9, 31])
    outcomes = session(weights, packing="batch").run_many(given)
    assert [o.batch for o in outcomes] == [3, 2, 3, 3, 2]
    for text, outcome in zip(given, outcomes, strict=True):
        wanted = polynomial_logits(weights, text)
        np.testing.assert_allclose(outcome.logits, wanted, atol=0.02)
    shared = [o for o in outcomes if o.batch == 3]
    assert len({o.bytes_up for o in shared}) == 1
    assert [o.keygen_seconds > 0 for o in shared] == [True, False, False]


def test_few_texts_go_one_by_one_and_many_together():
    weights = random_polynomial_weights(hidden=128, intermediate=512)
    auto = session(weights)
    assert [batch for _, _, batch in auto.client.requests([10] * 3)] == [False] * 3
    ((plan, together, batch),) = auto.client.requests([10] * 200)
    assert batch
    assert plan.options["packing"] == "batch"
    assert together == list(range(200))
    assert len(auto.client.requests([10] * 300)) == 2  # a request holds 256 texts of 16 tokens


def test_one_shot_and_client_aided_never_share_a_request():
    polynomial = session(random_polynomial_weights(), protocol="one-shot", packing="batch")
    assert not any(batch for _, _, batch in polynomial.client.requests([10] * 200))
    aided = session(random_weights(), protocol="client-aided", ranges=None, packing="batch")
    assert not any(batch for _, _, batch in aided.client.requests([10] * 200))


def test_an_unknown_packing_is_refused():
    with pytest.raises(OptionError, match="packing must be one of auto, text, batch"):
        session(random_polynomial_weights(), packing="tight")
