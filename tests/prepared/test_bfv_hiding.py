"""What the server sends tells nothing of its weights; what comes to either side is checked."""

import numpy as np
import pytest
from bfv_pair import DEGREE, PARAMETERS, client, fresh, server, uniform
from prepared.uniform import check_uniform

from thex_hf.errors import WireError
from thex_hf.prepared.bfv import noise
from thex_hf.prepared.bfv.answers import AnswerFormat, cell, flooded
from thex_hf.prepared.bfv.client import BfvClient
from thex_hf.prepared.bfv.parameters import BfvParameters

SUMS = 4


def answers(weight, inputs):
    """Words ``(SUMS, 2, 2, N)`` of answers to ``weight`` times the inputs, without a mask."""
    sums = server().linear(weight * np.eye(SUMS, dtype=np.int64), inputs)
    masks = np.zeros((SUMS, DEGREE), np.uint64)
    data = server().finish(sums, masks, noise.fresh_bits() + 15)
    return np.stack([client()._answers.read(one) for one in data])


def shares(words):
    """Each residue of the two primes, as a share of the prime."""
    primes = np.array(PARAMETERS.primes[:2], np.float64)[:, None]
    return words / primes


@pytest.fixture(scope="module")
def inputs():
    return fresh(np.zeros((SUMS, DEGREE), np.uint64))


@pytest.mark.parametrize("weight", [0, 1, -32767])
def test_both_polynomials_are_uniform(inputs, weight):
    parts = shares(answers(weight, inputs))
    for part in range(2):
        for limb in range(2):
            check_uniform(parts[:, part, limb])


@pytest.mark.parametrize("weights", [(0, 0), (1, 1), (1, 2), (3, -3)])
def test_answers_to_equal_inputs_have_nothing_in_common(inputs, weights):
    first, second = (shares(answers(weight, inputs)) for weight in weights)
    for left, right in ((1, -1), (1, 1), (weights[1] or 1, -weights[0])):
        combined = (left * first + right * second) % 1.0
        for part in range(2):
            check_uniform(combined[:, part])


def test_flooding_is_uniform_on_a_cell():
    zeros = np.zeros((2, 1 << 16), np.uint64)
    drawn = flooded(zeros, PARAMETERS)
    primes = np.array(PARAMETERS.primes[:2], np.float64)
    first, second = PARAMETERS.primes[:2]
    inverse, size = pow(first, -1, second), cell(PARAMETERS)
    whole = [
        int(low) + first * ((int(high) - int(low)) * inverse % second) for low, high in drawn.T
    ]
    signed = np.array([n - first * second if n > first * second // 2 else n for n in whole])
    assert primes.prod() / PARAMETERS.plain_modulus == pytest.approx(size)
    assert -size // 2 <= signed.min() < -0.49 * size
    assert 0.49 * size < signed.max() <= size // 2
    check_uniform(signed.astype(np.float64), -size / 2, size / 2)


def test_what_a_deviating_client_puts_into_its_noise_comes_back_as_nothing():
    """Its ciphertext holds a large polynomial where noise should be; both halves stay uniform."""
    seal = server()._context.seal
    words = fresh(np.zeros((1, DEGREE), np.uint64))
    evil = words[0].copy()
    for limb, prime in enumerate(seal.primes):  # a constant of half a cell, in NTT form
        evil[0, limb] = (evil[0, limb].astype(object) + (1 << 115)) % prime
    weights = np.array([[1], [2], [3], [5]])
    made = server().linear(weights, evil[None])
    data = server().finish(made, uniform(9, 4, DEGREE), 20)
    read = np.stack([client()._answers.read(one) for one in data])
    secret = [client()._decryptor.invariant_noise_budget(client()._form.write(w)) for w in read]
    assert max(secret) <= 1
    for part in range(2):
        check_uniform(shares(read)[:, part])


def test_two_encryptions_and_two_answers_differ():
    slots = uniform(0, 1, DEGREE)
    assert client().encrypt(slots) != client().encrypt(slots)
    made = fresh(slots)
    assert server().finish(made, slots, 20) != server().finish(made, slots, 20)


def test_sums_of_nothing_are_hidden_too():
    masks = uniform(1, 1, DEGREE)
    made = server().linear(np.zeros((1, 1), np.int64), fresh(masks))
    assert not made.any()
    (answer,) = server().finish(made, masks, 10)
    assert np.array_equal(client().decrypt([answer]), masks)


def damaged(data):
    turned = bytearray(data)
    turned[0] ^= 1
    return [b"", b"\0" * 16, data[:-1], data + b"\0", data[: len(data) // 2], bytes(turned)]


def test_a_server_refuses_what_is_no_ciphertext():
    (data,) = client().encrypt(uniform(0, 1, DEGREE))
    other, public = BfvClient.generate(BfvParameters(prime_bits=(60, 60, 58)))
    answer = server().finish(fresh(uniform(0, 1, DEGREE)), uniform(0, 1, DEGREE), 10)[0]
    above = data[:16] + b"\xff" * (len(data) - 16)
    for bad in (*damaged(data), above, public, answer, *other.encrypt(uniform(0, 1, DEGREE))):
        with pytest.raises(WireError):
            server().load([bad])


def test_an_input_has_60_bits_a_word_and_a_seed():
    inputs = client().encrypt(uniform(0, 2, DEGREE))
    assert {len(data) for data in inputs} == {16 + 3 * DEGREE * 60 // 8 + 64}
    assert inputs[0][:16] == inputs[1][:16]
    assert inputs[0][-64:] != inputs[1][-64:]


def test_every_bit_of_an_input_counts():
    """No byte is there for nothing: another one gives other numbers, or a refusal."""
    (data,) = client().encrypt(uniform(3, 1, DEGREE))
    honest = server().load([data])
    for place in [*range(16), 16, 9999, len(data) - 65, len(data) - 64, len(data) - 1]:
        turned = bytearray(data)
        turned[place] ^= 1
        try:
            found = server().load([bytes(turned)])
        except WireError:
            continue
        assert place >= 16
        assert not np.array_equal(found, honest)


def test_a_server_refuses_ciphertexts_of_another_level_or_form():
    context = server()._context
    whole = server()._form.write(fresh(uniform(0, 1, DEGREE))[0])
    with pytest.raises(WireError, match="form"):
        context.check(whole, 3)
    with pytest.raises(WireError, match="primes"):
        context.check(server()._zero(), 3)


def test_a_client_refuses_what_is_no_answer():
    slots = uniform(0, 1, DEGREE)
    (data,) = server().finish(fresh(slots), slots, 10)
    above = data[:16] + b"\xff" * (len(data) - 16)
    (fresh_one,) = client().encrypt(slots)
    other, _ = BfvClient.generate(BfvParameters(prime_bits=(60, 60, 58)))
    for bad in (*damaged(data), above, fresh_one):
        with pytest.raises(WireError):
            client().decrypt([bad])
    with pytest.raises(WireError):
        other.decrypt([data])


def test_answers_come_back():
    form = AnswerFormat(PARAMETERS)
    words = np.random.default_rng(1).integers(0, PARAMETERS.primes[0], (2, 2, DEGREE), np.uint64)
    words[:, :, 0], words[:, :, 1] = 0, np.array(PARAMETERS.primes[:2]) - 1
    data = form.write(words % np.array(PARAMETERS.primes[:2], np.uint64)[:, None])
    assert len(data) == form.size == 16 + 4 * DEGREE * 15 // 2
    assert (form.read(data) == words % np.array(PARAMETERS.primes[:2], np.uint64)[:, None]).all()
