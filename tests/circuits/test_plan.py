import dataclasses
import json

import pytest
from reference import random_weights

from thex_hf.circuits.client_aided.planner import choose_parameters, make_plan, range_bits
from thex_hf.circuits.client_aided.projections import fold
from thex_hf.circuits.masks import RangeBits
from thex_hf.circuits.shape import bucket
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError, SecurityError

TINY = {"hidden": 128, "heads": 2, "intermediate": 512}
BITS = RangeBits((4, 4), (0, 4))


@pytest.mark.parametrize(
    ("tokens", "switches", "keys"), [(16, 508, 6), (32, 571, 10), (64, 1059, 10), (128, 2215, 10)]
)
def test_cost_of_bert_tiny_is_pinned(tokens, switches, keys):
    plan = make_plan(random_weights(**TINY), tokens, BITS)
    assert (plan.key_switches, len(plan.rotations)) == (switches, keys)
    assert (plan.levels, plan.schedule.rounds) == (3, 6)
    assert plan.parameters.ring_degree == 8192
    assert plan.parameters.total_bits <= 218


def test_buckets_of_one_geometry_share_keys():
    plans = [make_plan(random_weights(**TINY), tokens, BITS) for tokens in (32, 64, 128)]
    assert len({plan.key_set for plan in plans}) == 1
    assert len({plan.id for plan in plans}) == 3


def test_plan_is_the_same_on_both_sides_and_differs_between_models():
    one, two = random_weights(seed=0), random_weights(seed=1)
    bits = RangeBits((4, 4), (0, 4))
    assert make_plan(one, 16, bits).id == make_plan(one, 16, bits).id
    assert make_plan(one, 16, bits).id != make_plan(two, 16, bits).id
    assert make_plan(one, 16, bits, softmax="exact").id != make_plan(one, 16, bits).id


def test_plan_json_is_plain():
    plan = make_plan(random_weights(), 16, BITS)
    text = json.dumps(plan.to_json())
    assert json.loads(text)["id"] == plan.id


def test_parameters_are_secure_and_refused_otherwise():
    for levels in range(1, 9):
        choose_parameters(levels).require_128_bit()
    with pytest.raises(PlanError, match="levels"):
        choose_parameters(40)
    with pytest.raises(SecurityError, match="insecure parameters: 258 modulus bits"):
        Parameters(8192, (60, 38, 50, 50), 60, 38).require_128_bit()
    with pytest.raises(SecurityError, match="not in the 128-bit table"):
        Parameters(512, (20,), 20, 10).require_128_bit()


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(PlanError, match=r"layer 1 value: a masked value needs \d+ bits"):
        make_plan(random_weights(), 16, RangeBits((4, 40), (0, 4)))
    with pytest.raises(PlanError, match="layer 1 stream"):
        make_plan(random_weights(), 16, RangeBits((4, 4), (0, 40)))


def test_range_bits_double_what_was_seen():
    weights = random_weights(layers=2)
    scale = min(abs(weights.layers[0].attention_scale))
    seen = {"value": 3.9, "layer_out": 7.9 * scale, "scores": 1.0, "ffn_pre": 30.0}
    bits = range_bits(weights, [seen] * 2)
    assert bits.value == (3, 3)
    assert bits.stream == (0, 4)
    assert bits.shown == (6, 6)


def test_values_that_overflow_the_last_prime_are_refused():
    with pytest.raises(PlanError, match="layer 1: attention scores or FFN values reach"):
        make_plan(random_weights(), 16, RangeBits((4, 4), (0, 4), (4, 12)))


def test_a_scale_near_zero_cannot_be_folded():
    weights = random_weights()
    layer = dataclasses.replace(
        weights.layers[0], attention_scale=weights.layers[0].attention_scale * 1e-5
    )
    with pytest.raises(PlanError, match="layer 0: the affine norm"):
        fold(dataclasses.replace(weights, layers=(layer, weights.layers[1])))


def test_buckets():
    assert [bucket(n) for n in (1, 16, 17, 64, 128)] == [16, 16, 32, 64, 128]
    with pytest.raises(PlanError, match="129 tokens"):
        bucket(129)
