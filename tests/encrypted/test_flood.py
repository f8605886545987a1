"""What the flood leaves of everything in an answer that is no logit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import polynomial_logits, random_polynomial_weights

from thex_hf.backends.registry import get_backend
from thex_hf.backends.ring import largest_coefficient
from thex_hf.encrypted.batch.layout import BatchLayout
from thex_hf.encrypted.circuits import batch_plan_for, plan_for
from thex_hf.encrypted.flood import DEVIATIONS, LOGIT_BITS, NO_FLOOD, Flood, waste_bits
from thex_hf.encrypted.planner import shape_of
from thex_hf.encrypted.polynomial.route import routes
from thex_hf.layout.geometry import Geometry
from thex_hf.layout.layout import Layout
from thex_hf.layout.parameters import Parameters
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.messages import Message
from thex_hf.protocol.requests import key_request
from thex_hf.protocol.server import ServedModel, ServerRun

SIZES = {"layers": 1, "hidden": 16, "intermediate": 16, "labels": 3}
RANGES = [{"attention_out": 7.0}]
PARAMETERS = [
    Parameters(8192, (38, *(27,) * 5), 45, 27),
    Parameters(16384, (37, *(29,) * 12), 53, 29),
    Parameters(32768, (60, *(52,) * 12), 60, 52),
]


@pytest.mark.parametrize("head", ["cls", "mean", "tokens"])
def test_every_logit_is_read_from_one_slot_that_holds_it(head):
    weights = random_polynomial_weights(head=head, labels=5)
    answer = routes(shape_of(weights, 32, 2048), 2, 1, 0)[0].answer
    logits = np.random.default_rng(0).normal(size=(answer.tokens, 5))
    reads, packed = answer.reads(), np.stack(answer.pack(logits))
    assert reads.shape == packed.shape
    assert reads.sum() == logits.size
    np.testing.assert_array_equal(np.sort(packed[reads]), np.sort(logits.ravel()))
    held = np.where(reads, packed, np.nan)  # nothing else is looked at
    np.testing.assert_array_equal(answer.unpack(list(held)), logits)


@given(st.sampled_from(["dup", "skew-", "split"]), st.integers(1, 40), st.integers(0, 3))
def test_reads_of_any_layout(kind, features, shrink):
    layout = Layout(Geometry.fit(256, 8), kind, 8, features, shrink=shrink)
    matrix = np.random.default_rng(0).normal(size=(8, features))
    held = np.where(layout.reads(), np.stack(layout.pack(matrix)), np.nan)
    np.testing.assert_array_equal(layout.unpack(list(held)), matrix)
    assert layout.reads().sum() == matrix.size


@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: str(p.ring_degree))
def test_the_flood_fits_level_zero_and_twice_as_much_does_not(parameters):
    bits, degree = waste_bits(parameters), parameters.ring_degree
    deviation = 2.0**bits * np.sqrt(2 / (3 * degree))
    free = parameters.room - 2.0 ** (LOGIT_BITS - 2)
    assert DEVIATIONS * deviation <= free < 2 * DEVIATIONS * deviation
    reads = np.zeros((1, parameters.slots), dtype=bool)
    seen = [
        largest_coefficient(Flood(8, bits).draw(_Answer(reads))[0]) / deviation for _ in range(20)
    ]
    # of 20 N normal numbers the largest is about sqrt(2 log(40 N)) deviations
    expected = np.sqrt(2 * np.log(40 * degree))
    assert 0.85 * expected < max(seen) < 1.25 * expected < DEVIATIONS / 1.5


class _Answer:
    def __init__(self, reads):
        self._reads, self.ciphertexts = reads, len(reads)

    def reads(self):
        return self._reads


def test_sizes_of_the_noise():
    layout = BatchLayout(4096, "answer", 16, 2)
    for noise, reads in zip(Flood(8, 5).draw(layout), layout.reads(), strict=True):
        assert reads.sum() == 256
        assert 0.9 * 2**-8 < np.abs(noise.real[reads]).max() <= 2**-8
        for large in (noise.real[~reads], noise.imag):
            assert 0.99 * 2**5 < np.abs(large).max() <= 2**5
    assert not any(np.any(noise) for noise in NO_FLOOD.draw(layout))


def answer_of(head, protocol, *, backend="clear"):
    """Plan, what the client decrypts of one answer, its logits, and what they should be."""
    weights = random_polynomial_weights(head=head, **SIZES)
    plan = plan_for(weights, 16, RANGES, protocol=protocol)
    engines = get_backend(backend)
    secret, keys = engines.generate(key_request(plan))
    client = engines.client(plan.parameters, secret)
    server = engines.server(plan.parameters, keys, plan.rotations)
    text = np.random.default_rng(0).normal(size=(5, 16)) * 0.5
    run = ClientRun(plan, client, keys.key_id, text)
    side = ServerRun(ServedModel(weights), plan, server, keys.key_id)
    sent = side.start(run.request())
    while (reply := run.receive(sent)) is not None:
        sent = side.reply(reply)
    (ciphertexts,) = Message.from_bytes(sent).parts
    seen = np.stack([client.decrypt_complex(data) for data in ciphertexts])
    return plan, seen, run.logits, polynomial_logits(weights, text)


@pytest.mark.parametrize("head", ["cls", "mean", "tokens"])
@pytest.mark.parametrize("protocol", ["refresh", "one-shot"])
def test_logits_stay_right_and_all_else_is_as_large_as_level_zero_carries(protocol, head):
    plan, seen, logits, wanted = answer_of(head, protocol)
    np.testing.assert_allclose(logits, wanted, atol=0.02)
    reads, large = plan.schedule.answer.reads(), 2.0 ** plan.options["waste_bits"]
    for part in (seen.real[~reads], seen.imag):
        assert np.std(part) == pytest.approx(large / np.sqrt(3), rel=0.05)


def test_batches_too():
    weights = random_polynomial_weights(**SIZES)
    plan = batch_plan_for(weights, 16, RANGES, protocol="refresh")
    assert plan.options["waste_bits"] == waste_bits(plan.parameters)
    assert plan.schedule.answer.reads().sum() == plan.options["sentences"] * weights.labels
