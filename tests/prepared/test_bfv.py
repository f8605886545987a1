"""BFV by SEAL: what comes out is exact, and what goes in is checked."""

import copy
import pickle

import numpy as np
import pytest
from bfv_pair import DEGREE, PARAMETERS, PLAIN, client, fresh, keys, modulo, server, uniform

from thex_hf.errors import PlanError, SecurityError, WireError
from thex_hf.prepared.bfv import noise
from thex_hf.prepared.bfv.client import BfvClient
from thex_hf.prepared.bfv.parameters import BfvParameters
from thex_hf.prepared.bfv.plaintexts import InstancePlaintexts
from thex_hf.prepared.bfv.server import BfvServer
from thex_hf.prepared.bfv.slots import from_slots, to_slots


@pytest.mark.parametrize(("outputs", "inputs", "most"), [(1, 1, 1), (5, 3, 1023), (2, 6, 32767)])
def test_linear_maps_are_exact(outputs, inputs, most):
    slots, masks = uniform(inputs, inputs, DEGREE), uniform(9, outputs, DEGREE)
    weights = np.random.default_rng(most).integers(-most, most + 1, (outputs, inputs))
    weights[0] = most
    sums = server().linear(weights, fresh(slots))
    answer = client().decrypt(server().finish(sums, masks, noise.linear_bits(weights)))
    expected = weights.astype(object) @ slots.astype(object) + masks.astype(object)
    assert np.array_equal(answer, modulo(expected))


@pytest.mark.parametrize(
    ("width", "outputs", "terms"),
    [(1, 1, 1), (1, 2, 2), (2, 2, 1), (32, 3, 5), (64, 1, 4), (DEGREE // 4, 2, 3)],
)
def test_products_of_instances_are_exact(width, outputs, terms):
    slots, masks = uniform(terms, terms, DEGREE), uniform(9, outputs, DEGREE)
    plain = uniform(width, outputs, terms, DEGREE // width)
    made = server().cross(plain, fresh(slots))
    bits = noise.cross_bits(PARAMETERS, terms, width)
    answer = client().decrypt(server().finish(made, masks, bits))
    expected = np.einsum(
        "okb,kba->oba", plain.astype(object), from_slots(slots, width).astype(object)
    )
    expected += from_slots(masks, width).astype(object)
    assert np.array_equal(from_slots(answer, width), modulo(expected))


@pytest.mark.parametrize("value", [0, 1, PLAIN - 1])
def test_extremes_are_exact(value):
    slots = np.full((2, DEGREE), PLAIN - 1, np.uint64)
    masks = np.full((1, DEGREE), PLAIN - 1, np.uint64)
    plain = np.full((1, 2, DEGREE // 32), value, np.uint64)
    made = server().cross(plain, fresh(slots))
    answer = client().decrypt(server().finish(made, masks, 74))
    assert set(answer.ravel().tolist()) == {(2 * (PLAIN - 1) * value + PLAIN - 1) % PLAIN}


def test_products_slot_by_slot_are_exact():
    slots, plain, masks = (uniform(seed, 2, DEGREE) for seed in range(3))
    made = server().times(plain, fresh(slots))
    bits = noise.cross_bits(PARAMETERS, 1, 1)
    answer = client().decrypt(server().finish(made, masks, bits))
    expected = plain.astype(object) * slots.astype(object) + masks.astype(object)
    assert np.array_equal(answer, modulo(expected))


def test_sums_of_products_are_exact():
    left, right, masks = (uniform(seed, 1, DEGREE) for seed in range(3))
    plain = [uniform(seed, 1, 1, DEGREE // 32) for seed in (3, 4)]
    made = server().add(*map(server().cross, plain, (fresh(left), fresh(right))))
    answer = client().decrypt(server().finish(made, masks, noise.cross_bits(PARAMETERS, 2, 32)))
    expected = from_slots(masks, 32).astype(object)
    for factors, slots in zip(plain, (left, right), strict=True):
        expected = expected + factors[0, :, :, None].astype(object) * from_slots(slots, 32)
    assert np.array_equal(from_slots(answer, 32), modulo(expected))


@pytest.mark.parametrize("width", [1, 2, 64])
def test_slots_are_there_and_back(width):
    values = uniform(0, 3, DEGREE // width, width)
    slots = to_slots(values)
    assert np.array_equal(from_slots(slots, width), values)
    half, instances = DEGREE // 2, DEGREE // width
    for row, alpha, beta in [(0, 0, 0), (1, width - 1, 1), (0, width // 2, instances // 2 - 1)]:
        slot = row * half + alpha * (instances // 2) + beta
        assert slots[1, slot] == values[1, row * (instances // 2) + beta, alpha]


@pytest.mark.parametrize("width", [3, DEGREE // 2, DEGREE])
def test_widths_that_slots_do_not_have_are_refused(width):
    with pytest.raises(PlanError):
        from_slots(np.zeros((1, DEGREE), np.uint64), width)


def test_insecure_parameters_are_refused():
    for parameters in (BfvParameters(special_bits=40), BfvParameters(ring_degree=4096)):
        with pytest.raises(SecurityError):
            BfvClient.generate(parameters)
        with pytest.raises(SecurityError):
            BfvServer(parameters, keys()[1])


def test_parameters_are_json():
    assert BfvParameters.from_json(PARAMETERS.to_json()) == PARAMETERS
    assert PLAIN % (2 * DEGREE) == 1
    for text in ("", "[]", '{"ring_degree": "8192"}', '{"prime_bits": [1.5]}'):
        with pytest.raises(WireError):
            BfvParameters.from_json(text)


@pytest.mark.parametrize("width", [1, 32, DEGREE // 4])
def test_plaintexts_of_instances_are_those_of_seal(width):
    context = server()._context
    values = uniform(7, 1, DEGREE // width)
    repeated = np.repeat(values[:, :, None], width, axis=2)
    plaintext = context.seal.api.Plaintext()
    context.encoder.encode(to_slots(repeated)[0].tolist(), plaintext)
    context.seal.evaluator.transform_to_ntt_inplace(plaintext, context.seal.ids[-1])
    made = InstancePlaintexts(context, width).encode(values)
    for limb, prime in enumerate(context.seal.primes):
        words = [plaintext.data(limb * DEGREE + n) for n in range(DEGREE)]
        assert (np.repeat(made[limb, :, 0], width) % prime).tolist() == words


def test_the_client_shows_and_gives_away_nothing():
    made = client()
    for text in (repr(made), str(made), repr(made.secret)):
        assert "hidden" in text
        assert repr(made.secret.reveal()[100:130])[2:-1] not in text
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pickled"):
            attempt(made)


def test_a_client_comes_back_from_its_secret():
    slots = uniform(4, 1, DEGREE)
    sums = server().linear(np.ones((1, 1), np.int64), fresh(slots))
    data = server().finish(sums, np.zeros_like(slots), noise.fresh_bits())
    assert np.array_equal(BfvClient(PARAMETERS, client().secret).decrypt(data), slots)
    other, _ = BfvClient.generate(PARAMETERS)
    assert not np.array_equal(other.decrypt(data), slots)


def test_wrong_shapes_and_numbers_are_refused():
    one, slots = fresh(uniform(0, 1, DEGREE)), uniform(0, 1, DEGREE)
    over = slots.copy()
    over[0, 0] = PLAIN
    for attempt in (
        lambda: client().encrypt(over),
        lambda: client().encrypt(slots[:, :-1]),
        lambda: client().encrypt(slots.astype(np.int64)),
        lambda: server().linear(np.ones((1, 2), np.int64), one),
        lambda: server().linear(np.full((1, 1), 1 << 15), one),
        lambda: server().cross(np.full((1, 1, 256), PLAIN, np.uint64), one),
        lambda: server().cross(np.zeros((1, 2, 256), np.uint64), one),
        lambda: server().cross(np.zeros((1, 1, 2), np.uint64), one),
        lambda: server().times(over, one),
        lambda: server().add(one, np.concatenate([one, one])),
        lambda: server().finish(one, over, 10),
        lambda: server().finish(one[:, :, :2], slots, 10),
    ):
        with pytest.raises(PlanError):
            attempt()


def test_keys_of_other_parameters_are_refused():
    other = BfvParameters(prime_bits=(58, 58, 58))
    with pytest.raises(WireError):
        BfvServer(other, keys()[1])
    with pytest.raises(WireError):
        BfvClient(other, client().secret)
    for damaged in (b"", keys()[1][:-1], keys()[1] + b"\0"):
        with pytest.raises(WireError):
            BfvServer(PARAMETERS, damaged)
