"""What each side sees of a text is uniform, and the same for two texts to any test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared.tickets import NUMBERS, PRIME, hidden, prepare, run
from prepared.uniform import check_uniform
from reference import random_normalised_weights, random_polynomial_weights, random_weights

from thex_hf.errors import RangeError
from thex_hf.prepared.folding import fold_network
from thex_hf.prepared.forms import Context, Masked, Scaled, Scores, Square, SquaredSum, Times
from thex_hf.prepared.network import Product, Value
from thex_hf.prepared.rows import RowLayout

SIZES = {"hidden": 16, "heads": 2, "intermediate": 24, "layers": 2}
NETWORKS = {
    "polynomial": fold_network(random_polynomial_weights(**SIZES), 16),
    "normalised": fold_network(random_normalised_weights([(4, 2), (8, 1)], **SIZES), 16),
    "the-x": fold_network(random_weights(**SIZES), 16),
}


def check(arrays):
    """The numbers themselves, and their lowest bytes."""
    numbers = np.concatenate([a.ravel() for a in arrays])
    check_uniform(numbers.astype(np.float64) / PRIME)
    check_uniform((numbers & np.uint64(255)).astype(np.float64) / 256)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


@pytest.fixture(scope="module")
def tickets(network):
    return prepare(network, 4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1000.0])
def test_all_that_crosses_is_uniform_whatever_the_text(network, tickets, scale):
    """But for the answer and, in the THE-X form, what the client is to see."""
    client_seeds, server_seeds, rows = tickets
    x = scale * np.random.default_rng(1).normal(size=(16, 16))
    _, _, up, down = run(network, client_seeds[0], server_seeds[0], rows[0], x)
    for message in up:
        check(message)
    rounds = [[array for _, array in pairs] for pairs in hidden(network, down)]
    masked = [message for message in rounds if message]
    assert len(masked) == (2 if network.shows else len(rounds))  # before ReLU nothing else comes
    for message in masked:
        check(message)


def test_what_a_client_keeps_is_uniform(network, tickets):
    """But for its shares of linear maps, which have been cut."""
    _, _, rows = tickets
    layout = RowLayout(network)
    for kind, name in layout.places:
        if kind != "share":
            check([layout.view(rows, kind, name)])


def test_tickets_share_no_number(tickets):
    *_, rows = tickets
    assert len(np.unique(rows)) == rows.size


def test_fixed_point_numbers_come_back():
    values = np.array([0.0, 1.5, -1.5, 2.0**30, -(2.0**30)])
    assert (NUMBERS.decode(NUMBERS.encode(values, 13), 13) == values).all()
    with pytest.raises(RangeError, match="2\\*\\*45"):
        NUMBERS.encode(np.array([2.0**46]), 13)
    with pytest.raises(RangeError):
        NUMBERS.encode(np.array([np.nan]), 13)


@given(st.integers(-(2**45), 2**45), st.integers(0, 20), st.integers(0, PRIME - 1))
@settings(max_examples=300, deadline=None)
def test_cut_shares_give_the_cut_number(x, shift, r):
    r = np.array([r], np.uint64)
    hat = NUMBERS.subtract(NUMBERS.of(np.array([x])), r)
    if not 0 <= int(x) + (-int(r[0])) % PRIME < PRIME:
        return  # this one wraps
    both = NUMBERS.add(NUMBERS.truncate_hat(hat, shift), NUMBERS.truncate_mask(r, shift))
    assert int(NUMBERS.centred(both)[0]) - (x >> shift) in (0, 1)


FORMS = [
    (Scores(2), (3, 8), (5, 8)),
    (Scores(4), (1, 8), (16, 8)),
    (Context(2), (2, 3, 5), (5, 8)),
    (Context(1), (1, 1, 16), (16, 8)),
    (Times((3, 4)), (3, 4), (3, 4)),
    (Square((3, 4)), (3, 4), (3, 4)),
    (Masked(6), (5,), (5, 6)),
    (SquaredSum(), (5, 6), (5, 6)),
    (SquaredSum(), (1, 16), (1, 16)),
    (Scaled((5, 6)), (5, 1), (5, 6)),
    (Scaled((1, 16)), (1, 1), (1, 16)),
]


@pytest.mark.parametrize(("form", "left", "right"), FORMS, ids=str)
@pytest.mark.parametrize("extreme", [None, 0, 1, PRIME - 1, PRIME // 2])
def test_cross_terms_complete_a_product(form, left, right, extreme):
    """``f(a, b)`` from what each side has, at the extremes of the field too."""
    tickets = 2

    def drawn(shape):
        if extreme is not None:
            return np.full((tickets, *shape), extreme, np.uint64)
        return NUMBERS.uniform((tickets, *shape))

    a, b, r_a, r_b = drawn(left), drawn(right), NUMBERS.uniform((tickets, *left)), drawn(right)
    if form.symmetric:
        b, r_b = a, r_a
    hat_a, hat_b = NUMBERS.subtract(a, r_a), NUMBERS.subtract(b, r_b)
    total = NUMBERS.add(form.apply(NUMBERS, hat_a, hat_b), form.apply(NUMBERS, r_a, r_b))
    for term in Product(
        Value("z", (), 0), form, Value("a", left, 0), Value("b", right, 0), 0
    ).terms:
        mine, yours = (hat_a, r_b) if term.server == "left" else (hat_b, r_a)
        out = NUMBERS.matmul(term.plain(mine), term.cipher(yours))
        part = term.joined(out)
        total = NUMBERS.add(total, part)
        if form.symmetric:
            total = NUMBERS.add(total, part)
    if form.left_is_clients:  # the client knows its factor, and with it the other cross term
        total = NUMBERS.add(total, form.apply(NUMBERS, hat_a, r_b))
    expected = [form.apply(NUMBERS, x, y) for x, y in zip(a, b, strict=True)]
    assert (total == np.stack(expected)).all()
    assert expected[0].shape == form.shape(left, right)


@given(st.integers(1, 300), st.integers(1, 4), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_products_are_those_of_python_integers(k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, PRIME, shape, np.uint64) for shape in ((2, n, k), (2, k, 3)))
    a[0, 0], b[0, :, 0] = PRIME - 1, PRIME - 1
    exact = a.astype(object) @ b.astype(object) % PRIME
    assert (NUMBERS.matmul(a, b) == exact.astype(np.uint64)).all()
    w = rng.integers(-(2**15) + 1, 2**15, (n, k))
    w[0] = 2**15 - 1
    exact = (a.astype(object) @ w.astype(object).T) % PRIME
    assert (NUMBERS.weigh(w, a) == exact.astype(np.uint64)).all()
