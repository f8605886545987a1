"""The bounds on noise hold, and are not far off; flooding that does not fit is refused."""

import numpy as np
import pytest
from bfv_pair import DEGREE, PARAMETERS, client, fresh, noise_of, server, uniform

from thex_hf.errors import PlanError
from thex_hf.prepared.bfv import noise
from thex_hf.prepared.bfv.parameters import BfvParameters

INPUTS = 4


def summed(parts):
    primes = np.array(server()._context.seal.primes, np.uint64)[:, None]
    total = next(parts)
    for part in parts:
        total = (total + part) % primes
    return total


@pytest.mark.parametrize("terms", [1, 64, 512, 4096])
def test_linear_maps(terms):
    inputs = np.resize(fresh(uniform(1, INPUTS, DEGREE)), (min(terms, 64), 2, 3, DEGREE))
    weights = np.random.default_rng(terms).integers(-1023, 1024, (1, terms))
    rows = np.split(weights, terms // len(inputs), axis=1)
    made = summed(server().linear(row, inputs)[0] for row in rows)
    bits = noise.linear_bits(weights)
    assert bits - 12 < noise_of(made) <= bits


@pytest.mark.parametrize(
    ("terms", "width"), [(1, 2), (1, 64), (64, 32), (512, 64), (4096, 256), (4096, 2048)]
)
def test_products_of_instances(terms, width):
    inputs = np.resize(fresh(uniform(2, INPUTS, DEGREE)), (min(terms, 64), 2, 3, DEGREE))
    plain = [uniform(seed, 1, len(inputs), DEGREE // width) for seed in range(terms // len(inputs))]
    bits = noise.cross_bits(PARAMETERS, terms, width)
    made = summed(server().cross(one, inputs)[0] for one in plain)
    assert bits - 8 < noise_of(made) <= bits


def test_products_slot_by_slot():
    made = server().times(uniform(3, 1, DEGREE), fresh(uniform(4, 1, DEGREE)))
    bits = noise.cross_bits(PARAMETERS, 1, 1)
    assert bits - 6 < noise_of(made[0]) <= bits


def test_an_encryption_of_zero_has_less_than_was_counted():
    seal = server()._context.seal
    budget = client()._decryptor.invariant_noise_budget(server()._zero())
    assert seal.modulus_bits(1) - PARAMETERS.plain_bits - 1 - budget <= 9


@pytest.mark.parametrize("bits", [1, 70])
def test_answers_have_noise_of_the_same_size_whatever_they_hold(bits):
    slots = uniform(0, 8, DEGREE)
    answers = server().finish(fresh(slots), slots, bits)
    budgets = {
        client()._decryptor.invariant_noise_budget(client()._form.write(words))
        for words in map(client()._answers.read, answers)
    }
    assert budgets == {0}


def test_answers_of_every_plan_that_is_used_fail_seldom():
    for terms in (1, 64, 512, 768):
        for width in (1, 32, 128):
            bits = noise.cross_bits(PARAMETERS, terms, width)
            noise.check_bits(PARAMETERS, bits)
            assert noise.failure_probability(PARAMETERS, bits) < 2.0**-30


def test_noise_that_does_not_fit_is_refused():
    slots = uniform(0, 1, DEGREE)
    inputs = fresh(slots)
    for bits in (100, 0):
        with pytest.raises(PlanError, match="fit"):
            server().finish(inputs, slots, bits)
    small = BfvParameters(prime_bits=(36, 36, 60))
    with pytest.raises(PlanError, match="fit"):
        noise.check_bits(small, noise.fresh_bits())
