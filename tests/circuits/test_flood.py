"""What the flood leaves of everything in an answer that is no logit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polynomial_runs import run_exactly
from reference import polynomial_logits, random_polynomial_weights

from thex_hf.backends.numerics.embedding import largest_coefficient
from thex_hf.backends.registry import get_backend
from thex_hf.circuits.dispatch import batch_plan_for, plan_for
from thex_hf.circuits.flood import DEVIATIONS, LOGIT_BITS, NO_FLOOD, Flood, waste_bits
from thex_hf.circuits.planning import shape_of
from thex_hf.circuits.polynomial.refresh_schedule import SingleRefreshSchedule
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.circuits.shape import BatchLayout
from thex_hf.ckks.packing.layout import Geometry, Layout
from thex_hf.ckks.parameters import Parameters
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.messages import Message
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
    answer = SingleRefreshSchedule.best(shape_of(weights, 32, 2048), 2, 1, 0)[0].answer
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
    assert 0.7 * expected < max(seen) < 1.25 * expected < DEVIATIONS / 1.5


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
    plan = plan_for(weights, 16, RANGES, PlanOptions(protocol))
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
    plan = batch_plan_for(weights, 16, RANGES, PlanOptions("refresh"))
    assert plan.options["waste_bits"] == waste_bits(plan.parameters)
    assert plan.schedule.answer.reads().sum() == plan.options["sentences"] * weights.labels


# --- averaging, and a client that deviates ----------------------------------


@pytest.fixture(scope="module")
def small_session():
    """A small model under real encryption at 128 bits, with rests."""
    weights = random_polynomial_weights(**SIZES)
    plan = plan_for(weights, 16, RANGES, PlanOptions("refresh"))
    backend = get_backend("seal")
    secret, keys = backend.generate(key_request(plan))
    client = backend.client(plan.parameters, secret)
    server = backend.server(plan.parameters, keys, plan.rotations)
    return weights, plan, client, server, keys.key_id


def converse(session, plan, text, spoil=None):
    """The ciphertexts of one answer; ``spoil`` changes what the last reply encrypts."""
    weights, _, client, server, key_id = session
    run = ClientRun(plan, client, key_id, text)
    side = ServerRun(ServedModel(weights), plan, server, key_id)
    sent = side.start(run.request())
    for step in range(plan.schedule.rounds - 1):
        reply = run.receive(sent)
        if spoil is not None and step == plan.schedule.rounds - 2:
            reply = spoil(Message.from_bytes(reply))
        sent = side.reply(reply)
    return Message.from_bytes(sent).parts[0]


def text_of(length=5, hidden=16):
    return np.random.default_rng(0).normal(size=(length, hidden)) * 0.5


def test_averaging_many_answers_tells_nothing_of_the_error_beside_the_logits(small_session):
    """One answer before its flood, flooded a hundred times."""
    weights, plan, client, server, _ = small_session
    quiet = replace(plan, options={**plan.options, "flood_bits": 1100, "waste_bits": -1100})
    (bare,) = converse(small_session, quiet, text_of())
    error = client.decrypt_complex(bare)
    reads = plan.schedule.answer.reads()[0]
    handle, total = server.load(bare), np.zeros(server.slots, np.complex128)
    for _ in range(100):
        (noise,) = Flood.of(plan.options).draw(plan.schedule.answer)
        flooded = server.add_plain(handle, server.encode(noise, 0, factor=False))
        total += client.decrypt_complex(server.dump(server.rerandomise(flooded)))
    for seen, own in ((total.real[~reads], error.real[~reads]), (total.imag, error.imag)):
        assert abs(np.corrcoef(seen, own)[0, 1]) < 6 / np.sqrt(len(own))
    wanted = polynomial_logits(weights, text_of())
    np.testing.assert_allclose(np.sort(total.real[reads] / 100), np.sort(wanted), atol=0.01)


def test_numbers_in_other_columns_of_the_last_reply_stay_under_the_flood(small_session):
    """They meet zeros of the last matrix, and no more than its rounding under the flood."""
    _, plan, client, _, key_id = small_session
    (layout, level) = plan.schedule.round_trips[-1].parts[0].returns[0]
    held = plan.schedule.answer.maps()[0]
    random = np.random.default_rng(1).choice([-1.0, 1.0], held.shape) * 2.0**10
    random[:, (held >= 0).any(axis=0)] = 0  # beside the columns of the labels

    def spoil(message):
        (row,) = (client.decrypt(data) for data in message.parts[0])
        parts = [[client.encrypt(row + random.ravel(), level)]]
        return Message("reply", plan.id, key_id, message.run, message.step, parts).to_bytes()

    assert layout.ciphertexts == 1
    reads, large = plan.schedule.answer.reads()[0], 2.0 ** plan.options["waste_bits"]
    seen = [
        client.decrypt_complex(converse(small_session, plan, text_of(), spoil)[0]) for _ in range(2)
    ]
    for values in seen:
        assert np.std(values.real[~reads]) == pytest.approx(large / np.sqrt(3), rel=0.05)
    one, two = (values.real[~reads] for values in seen)
    assert abs(np.corrcoef(one, two)[0, 1]) < 6 / np.sqrt(len(one))


def test_numbers_in_other_columns_meet_zeros_exactly():
    weights = random_polynomial_weights(**SIZES)
    refreshes = SingleRefreshSchedule.best(shape_of(weights, 16, 2048), 2, 1, 99)[-1]
    labels = (refreshes.answer.maps()[0] >= 0).any(axis=0)
    random = np.random.default_rng(1).normal(size=refreshes.answer.maps()[0].shape) * 2.0**20
    random[:, labels] = 0
    answer, wanted, _, seen = run_exactly(
        weights, refreshes, 5, flood=NO_FLOOD, spoil=lambda vector: vector + random.ravel()
    )
    assert len(seen) == 1
    columns = answer[0].reshape(random.shape)
    assert np.abs(columns[:, ~labels]).max() < 1e-200
    np.testing.assert_allclose(refreshes.answer.unpack([answer[0].real])[0], wanted, atol=1e-5)
