"""Integers for an encoder: how near they come, and that no circuit can overflow."""

from dataclasses import replace

import numpy as np
import pytest
from concrete_world import RANGES, text
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import clear_logits, random_weights

from thex_hf.concrete.circuits import Bits, encoder_maps, frames
from thex_hf.concrete.quantise import Quantiser, block, linear
from thex_hf.concrete.roles import classify, drive
from thex_hf.errors import PlanError


def simulate(weights, embeddings, *, softmax="estimate", tokens=8, bits=(16, 14)):
    maps = encoder_maps(weights, RANGES, tokens, Bits(*bits))
    by_name = {own.frame.name: own for layer in maps for own in layer.all()}
    requests = classify([frames(layer) for layer in maps], weights.heads, embeddings, softmax)
    return drive(requests, lambda frame, integers: by_name[frame.name].apply(integers))


@given(st.integers(2, 12), st.floats(0.01, 100.0), st.integers(0, 2**32 - 1))
def test_a_quantiser_is_half_a_step_off_at_most_and_clips(bits, largest, seed):
    own = Quantiser.over(largest, bits)
    values = np.random.default_rng(seed).uniform(-2 * largest, 2 * largest, 50)
    integers = own.encode(values)
    assert np.abs(integers).max() <= own.most == 2 ** (bits - 1) - 1
    inside = np.abs(values) <= largest
    assert np.abs(integers * own.step - values)[inside].max(initial=0) <= 0.5001 * own.step
    assert (np.abs(integers[~inside]) == own.most).all()


@settings(max_examples=examples(30))
@given(st.integers(1, 40), st.integers(1, 5), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_result_bits_hold_every_result_and_not_one_more(width, outputs, bits, seed):
    rng = np.random.default_rng(seed)
    parts = [(rng.normal(size=(outputs, width)), Quantiser.over(3.0, bits))]
    own = linear("m", 1, parts, rng.normal(size=outputs), 6)
    most = parts[0][1].most
    reach = np.abs(own.weights).sum(0) * most + np.abs(own.bias)
    signs = np.where(own.weights[:, reach.argmax()] < 0, -1, 1)
    sides = [own.apply(side * most * signs[None]) for side in (1, -1)]
    worst = max(int(np.abs(side).max()) for side in sides)
    assert worst == reach.max()
    assert 2 ** (own.result_bits - 2) <= worst < 2 ** (own.result_bits - 1)


def test_parts_of_different_coarseness_count_in_one_unit():
    rng = np.random.default_rng(0)
    fine, coarse = Quantiser.over(1.0, 12), Quantiser.over(50.0, 12)
    matrices = rng.normal(size=(4, 6)), rng.normal(size=(4, 3))
    bias = rng.normal(size=4)
    own = linear("m", 2, [(matrices[0], fine), (matrices[1], coarse)], bias, 16)
    parts = [rng.uniform(-1, 1, (2, 6)), rng.uniform(-50, 50, (2, 3))]
    got = own.frame.decode(own.apply(own.frame.encode(parts)))
    want = parts[0] @ matrices[0].T + parts[1] @ matrices[1].T + bias
    assert np.abs(got - want).max() < 0.1  # half a coarse step of 0.024 for each of three features


@pytest.mark.parametrize("softmax", ["estimate", "exact"])
@pytest.mark.parametrize("tokens", [1, 5, 8])
def test_with_many_bits_the_encoder_is_the_clear_one(softmax, tokens):
    weights, embeddings = random_weights(), text(tokens)
    want = clear_logits(weights, embeddings, np.ones(tokens), softmax)
    assert np.abs(simulate(weights, embeddings, softmax=softmax) - want).max() < 0.02


def test_fewer_bits_are_worse_but_not_by_much():
    weights, embeddings = random_weights(), text(6)
    want = clear_logits(weights, embeddings, np.ones(6))
    gaps = [
        np.abs(simulate(weights, embeddings, bits=bits) - want).max()
        for bits in ((16, 14), (10, 8), (5, 4))
    ]
    assert gaps == sorted(gaps)
    assert gaps[1] < 0.3


def test_padding_and_bucket_change_nothing():
    weights, embeddings = random_weights(), text(5)
    small, large = (simulate(weights, embeddings, tokens=size) for size in (8, 16))
    assert np.abs(small - large).max() < 1e-9


def test_the_client_knows_no_weight():
    maps = encoder_maps(random_weights(), RANGES, 8)
    for layer in maps:
        for frame in vars(frames(layer)).values():
            assert frame is None or not any(
                isinstance(value, np.ndarray) for value in vars(frame).values()
            )


def test_the_last_layer_computes_one_row_behind_its_keys():
    first, last = encoder_maps(random_weights(), RANGES, 8)
    assert first.query is None
    assert [own.frame.rows for own in last.all()] == [8, 1, 1, 1, 1]
    assert last.down.frame.outputs == 2


@pytest.mark.parametrize("head", ["mean", "tokens"])
def test_other_heads_are_refused(head):
    with pytest.raises(PlanError, match="use backend 'seal'"):
        encoder_maps(random_weights(head=head), RANGES, 8)


def block_of(bits, seed=0):
    rng = np.random.default_rng(seed)
    own = Quantiser.over(3.0, bits[0])
    first, bias = rng.normal(size=(24, 10)), rng.normal(size=24)
    second = rng.normal(size=(3, 24)), rng.normal(size=(3, 10)), rng.normal(size=3)
    made = block("b", 1, own, (first, bias), second, 25.0, bits[1:])

    def formula(x):
        return np.maximum(x @ first.T + bias, 0) @ second[0].T + x @ second[1].T + second[2]

    return made, formula


def test_a_block_comes_near_the_formula_as_its_bits_grow():
    x = np.random.default_rng(5).uniform(-2, 2, (1, 10))
    gaps = []
    for bits in ((7, 6, 5, 6), (9, 8, 8, 9), (14, 12, 13, 14)):
        own, formula = block_of(bits)
        gaps.append(np.abs(own.frame.decode(own.apply(own.frame.encode([x]))) - formula(x)).max())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.05


@given(st.integers(0, 2**32 - 1))
def test_results_of_a_block_stay_in_its_bits_and_large_values_wrap(seed):
    own, _ = block_of((7, 6, 5, 6), seed % 7)
    most = own.frame.inputs[0].most
    integers = np.random.default_rng(seed).integers(-most, most + 1, (1, 10))
    result = own.apply(integers)
    assert np.abs(result).max() < 2 ** (own.result_bits - 1)
    one, two = (
        replace(own, first_bias=own.first_bias + turns * (1 << own.between_bits)).apply(integers)
        for turns in (1, 2)
    )
    assert np.array_equal(two, result)
    rest = integers @ own.beside + own.bias
    assert np.array_equal(one - rest, rest - result)


def test_with_relu_on_the_server_the_last_layer_is_one_map_less():
    maps = encoder_maps(random_weights(), RANGES, 8, Bits(16, 14, "server"))
    assert [own.frame.rows for own in maps[-1].all()] == [8, 1, 1, 1]
    assert maps[-1].up is None
    assert maps[0].up is not None
