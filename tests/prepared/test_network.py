"""The network of an encoder: what it computes, its round trips, and that shares agree with it."""

from dataclasses import replace

import numpy as np
import pytest
from prepared.tickets import NUMBERS, prepare, run
from reference import (
    clear_logits,
    polynomial_logits,
    random_normalised_weights,
    random_polynomial_weights,
    random_weights,
)

from thex_hf.errors import PlanError
from thex_hf.prepared.clear import ClearRun
from thex_hf.prepared.folding import fold_network
from thex_hf.prepared.preparing import SLAB
from thex_hf.prepared.rows import RowLayout
from thex_hf.protocol.prepared_client import MOST_LOGIT

SIZES = {"hidden": 16, "heads": 2, "intermediate": 24, "labels": 3}
CASES = [
    {"layers": 2, "head": "cls", "power": 2},
    {"layers": 1, "head": "cls", "power": 4, "centred": True},
    {"layers": 2, "head": "tokens", "power": 2, "centred": True},
    {"layers": 2, "head": "mean", "power": 6},
]
NORMALISED = [
    {"layers": 2, "head": "cls", "power": 2, "degrees": [(4, 4), (4, 4)]},
    {"layers": 2, "head": "tokens", "power": 4, "degrees": [(0, 8), (1, 2)]},
    {"layers": 2, "head": "mean", "power": 2, "degrees": [(2, 0), (8, 1)]},
    {"layers": 2, "head": "cls", "power": 2, "degrees": [(4, 2), (2, 4)], "buckets": 16},
]
EVERY = CASES + NORMALISED


def weights_of(case, **sizes):
    make = random_normalised_weights if "degrees" in case else random_polynomial_weights
    return make(**{**SIZES, **case, **sizes})


def text(tokens, seed=0, hidden=16):
    return np.random.default_rng(seed).normal(size=(tokens, hidden))


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_the_clear_network_computes_the_encoder(case):
    weights = weights_of(case)
    x = text(11)
    logits = ClearRun(fold_network(weights, 16), NUMBERS).run(x)
    expected = np.atleast_2d(polynomial_logits(weights, x))
    assert np.abs(logits[: len(expected)] - expected).max() < 0.02


def test_a_long_interval_of_variances_costs_no_precision():
    """Rows are divided by its largest deviation: ordinary ones get small, and bits in turn."""
    case = {"layers": 4, "power": 2, "degrees": [(2, 4)] * 4, "interval": (0.5, 60.0)}
    weights = weights_of(case, hidden=64, heads=4, intermediate=128)
    network, gaps = fold_network(weights, 16), []
    for seed in range(8):
        x = text(11, seed, hidden=64)
        expected = polynomial_logits(weights, x)
        gaps.append(np.abs(ClearRun(network, NUMBERS).run(x) - expected).max())
    assert np.mean(gaps) < 3e-4  # 0.0002; without 0.0005


@pytest.mark.parametrize(("ratio", "finer"), [(1.1, 0), (4.0, 1), (120.0, 3), (1e9, 4)])
def test_the_longer_an_interval_the_finer_its_rows_up_to_a_bound(ratio, finer):
    weights = weights_of(NORMALISED[0], interval=(0.5, 0.5 * ratio))
    steps = {step.out.name: step.out for step in fold_network(weights, 16, 13).steps}
    assert steps["0.attention.centred"].bits == 13 + finer


def test_wide_maps_cross_in_parts_and_are_computed_in_slabs():
    weights = weights_of(CASES[0], hidden=72, intermediate=SLAB + 70)
    network = fold_network(weights, 16)
    [client_seed], [server_seed], rows = prepare(network, 1)
    x = text(9, hidden=72)
    logits, seen, *_ = run(network, client_seed, server_seed, rows[0], x)
    assert np.array_equal(logits, ClearRun(network, NUMBERS, hats=seen).run(x))


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_a_ticket_gives_the_clear_network_bit_for_bit(case):
    weights = weights_of(case)
    network = fold_network(weights, 16)
    client_seeds, server_seeds, rows = prepare(network)
    for ticket, tokens in enumerate((16, 3)):
        x = text(tokens, ticket)
        logits, seen, *_ = run(network, client_seeds[ticket], server_seeds[ticket], rows[ticket], x)
        clear = ClearRun(network, NUMBERS, hats=seen).run(x)
        true = tokens if weights.head == "tokens" else 1
        assert (logits[:true] == clear[:true]).all()


def test_two_hundred_texts_bit_for_bit():
    """Of every length, some with values far from those of ordinary texts."""
    weights = weights_of({"layers": 2, "power": 2, "centred": True})
    network, rng = fold_network(weights, 16), np.random.default_rng(200)
    for batch in range(4):
        client_seeds, server_seeds, rows = prepare(network, 50)
        for ticket in range(50):
            x = rng.normal(size=(rng.integers(1, 17), 16)) * rng.choice([0.0, 0.1, 1.0, 4.0])
            about = client_seeds[ticket], server_seeds[ticket], rows[ticket], x
            logits, seen, *_ = run(network, *about)
            clear = ClearRun(network, NUMBERS, hats=seen)
            assert (logits == clear.run(x)).all(), (batch, ticket)


def test_scores_by_distance_cost_nothing():
    weights = weights_of(NORMALISED[-1])
    assert weights.relative is not None
    with_them, without = (
        fold_network(one, 16) for one in (weights, replace(weights, relative=None))
    )
    assert len(with_them.rounds) == len(without.rounds)
    assert with_them.numbers_up == without.numbers_up
    assert with_them.numbers_down == without.numbers_down
    assert RowLayout(with_them).numbers == RowLayout(without).numbers


def test_round_trips_and_numbers_are_counted():
    network = fold_network(weights_of({"layers": 3, "power": 2}), 16)
    assert [len(products) for products in network.rounds] == [2, 1, 1, 1] * 3
    client_seeds, server_seeds, rows = prepare(network, 1)
    _, _, up, down = run(network, client_seeds[0], server_seeds[0], rows[0], text(5))
    assert network.numbers_up == sum(a.size for part in up for a in part)
    assert network.numbers_down == sum(a.size for part in down for a in part)
    assert len(fold_network(weights_of({"layers": 2, "power": 6}), 16).rounds) == 12


@pytest.mark.parametrize("degree", [0, 1, 2, 4, 8])
def test_round_trips_of_a_norm(degree):
    """Variance, powers of it side by side, product."""
    case = {"layers": 3, "power": 2, "degrees": [(degree, 4)] * 3}
    rounds = fold_network(weights_of(case), 16).rounds
    of_norm = {0: 0, 1: 2, 2: 3, 4: 4, 8: 5}
    assert len(rounds) == 3 * (4 + of_norm[degree] + of_norm[4])


@pytest.mark.parametrize("which", ["query", "value", "output", "up", "down"])
def test_extreme_weights_are_carried_or_refused(which):
    weights = weights_of({"layers": 1})
    layer = weights.layers[0]
    large = replace(layer, **{which: getattr(layer, which) * 2.0**20})
    with pytest.raises(PlanError, match="weights of"):
        fold_network(replace(weights, layers=(large,)), 16)
    tiny = replace(layer, **{which: getattr(layer, which) * 2.0**-30})
    tiny_weights = replace(weights, layers=(tiny,))
    x = text(4)
    logits = ClearRun(fold_network(tiny_weights, 16), NUMBERS).run(x)
    assert np.abs(logits[0] - polynomial_logits(tiny_weights, x)).max() < 0.02


THE_X = [
    ({"layers": 2, "head": "cls"}, "estimate"),
    ({"layers": 1, "head": "tokens", "labels": 3}, "exact"),
    ({"layers": 2, "head": "mean"}, "estimate"),
]


@pytest.mark.parametrize(("case", "softmax"), THE_X, ids=str)
def test_the_the_x_form_bit_for_bit_and_as_published(case, softmax):
    weights = random_weights(hidden=16, heads=2, intermediate=24, **case)
    network = fold_network(weights, 16, softmax=softmax)
    assert network.shows
    client_seeds, server_seeds, rows = prepare(network)
    for ticket, tokens in enumerate((16, 5)):
        x = text(tokens, ticket)
        about = client_seeds[ticket], server_seeds[ticket], rows[ticket], x
        logits, seen, *_ = run(network, *about)
        clear = ClearRun(network, NUMBERS, hats=seen)
        true = tokens if weights.head == "tokens" else 1
        assert (logits[:true] == clear.run(x)[:true]).all()
        expected = np.atleast_2d(clear_logits(weights, x, np.ones(tokens), softmax))
        assert np.abs(logits[:true] - expected).max() < 0.01


def test_the_the_x_form_takes_two_round_trips_a_layer():
    weights = random_weights(hidden=16, heads=2, intermediate=24, layers=3)
    network = fold_network(weights, 16)
    assert [len(steps) for steps in network.rounds] == [2, 1] * 3
    assert len(network.products) == 6
    assert not fold_network(weights_of({"layers": 1}), 16).shows


def test_a_softmax_that_the_server_finishes_is_refused():
    weights = random_weights(hidden=16, heads=2, intermediate=24, layers=1)
    with pytest.raises(PlanError, match="client finishes"):
        fold_network(weights, 16, softmax="estimate-on-server")


def test_what_the_client_computes_is_cut_where_it_does_not_fit():
    weights = random_weights(hidden=16, heads=2, intermediate=24, layers=1)
    run_of = ClearRun(fold_network(weights, 16), NUMBERS)
    run_of.run(1e6 * text(4))
    assert run_of.overflown


class Totals(ClearRun):
    """Keeps every number before it is cut."""

    def _cut(self, total, name, shift):
        self.__dict__.setdefault("totals", {})[name] = total
        return super()._cut(total, name, shift)


@pytest.mark.parametrize("case", [*CASES[:3:2], *NORMALISED], ids=str)
def test_one_number_that_wraps_anywhere_shows_in_the_logits(case):
    """Far beyond what a client takes, whichever of a true token's numbers it is."""
    network = fold_network(weights_of(case), 16)
    rng, x = np.random.default_rng(7), text(16)
    clear = Totals(network, NUMBERS)
    clear.run(x)
    for name, total in clear.totals.items():
        signed = NUMBERS.centred(total)
        for _ in range(3):
            place = tuple(rng.integers(0, size) for size in total.shape)
            if signed[place] == 0:
                continue
            hats = NUMBERS.uniform(total.shape)
            hats[place] = 0 if signed[place] > 0 else NUMBERS.prime - 1  # the sum leaves 0..t
            logits = ClearRun(network, NUMBERS, hats={name: hats}).run(x)
            assert np.abs(logits).max() > 4 * MOST_LOGIT, (name, place)


def test_a_value_that_wraps_is_counted():
    network = fold_network(weights_of({"layers": 1}), 16)
    ordinary, large = (ClearRun(network, NUMBERS) for _ in range(2))
    ordinary.run(text(8))
    large.run(100 * text(8))
    assert 0 < ordinary.wrap_probability < 1e-4 < large.wrap_probability


@pytest.mark.parametrize("head", ["cls", "tokens", "mean"])
def test_padding_counts_for_nothing(head):
    """A norm's polynomial is not made for what rows of padding have in them."""
    case = {"layers": 3, "head": head, "degrees": [(4, 4)] * 3, "interval": (0.5, 2.0)}
    weights = weights_of(case)
    short = ClearRun(fold_network(weights, 16), NUMBERS)
    long = ClearRun(fold_network(weights, 64), NUMBERS)
    x = text(9)
    first, second = short.run(x), long.run(x)
    true = 9 if head == "tokens" else 1
    assert np.abs(first[:true] - second[:true]).max() < 0.02
    assert long.wrap_probability < 4 * short.wrap_probability < 1e-4
