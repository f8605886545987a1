"""Tickets that were prepared under real ciphertexts, at the degree that is used."""

from functools import cache

import numpy as np
import pytest
from bfv_pair import PARAMETERS, client, server
from prepared.tickets import NUMBERS, prepare, run
from reference import (
    clear_logits,
    polynomial_logits,
    random_normalised_weights,
    random_polynomial_weights,
    random_weights,
)

from thex_hf.prepared.clear import ClearRun
from thex_hf.prepared.folding import fold_network

SIZES = {"hidden": 8, "heads": 2, "intermediate": 12, "layers": 1}
WEIGHTS = {
    "polynomial": random_polynomial_weights(**SIZES),
    "normalised": random_normalised_weights([(4, 2)], head="tokens", labels=3, **SIZES),
    "the-x": random_weights(**SIZES, head="mean"),
}
TICKETS = 512  # all that a ciphertext has room for
SPENT = {0: 16, 1: 9, 255: 7, 510: 3, 511: 1}  # and the tokens of their texts


@cache
def tickets_of(form, *cipher):
    """Of the same seeds, whichever engine prepares them."""
    network = fold_network(WEIGHTS[form], 16)
    return network, prepare(network, TICKETS, PARAMETERS, cipher)


def expected(form, x):
    if form == "the-x":
        return np.atleast_2d(clear_logits(WEIGHTS[form], x, np.ones(len(x))))
    return np.atleast_2d(polynomial_logits(WEIGHTS[form], x))


@pytest.mark.parametrize("form", WEIGHTS)
def test_they_are_those_of_an_engine_that_encrypts_nothing(form):
    assert NUMBERS.prime == PARAMETERS.plain_modulus
    (_, (*_, real)), (_, (*_, clear)) = tickets_of(form, client(), server()), tickets_of(form)
    assert np.array_equal(real, clear)


@pytest.mark.parametrize("form", WEIGHTS)
def test_their_answers_are_the_clear_networks_bit_for_bit(form):
    network, (client_seeds, server_seeds, rows) = tickets_of(form, client(), server())
    for ticket, tokens in SPENT.items():
        x = np.random.default_rng(ticket).normal(size=(tokens, 8))
        about = client_seeds[ticket], server_seeds[ticket], rows[ticket], x
        logits, seen, *_ = run(network, *about)
        assert (logits == ClearRun(network, NUMBERS, hats=seen).run(x)).all()
        near = expected(form, x)
        assert np.abs(logits[: len(near)] - near).max() < 0.02
