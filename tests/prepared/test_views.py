"""What each side makes of all that comes to it, for two texts and for two models."""

from collections import defaultdict

import numpy as np
import pytest
from aided_runs import run_exactly
from prepared.tickets import NUMBERS, hidden, prepare, run, shown
from prepared.uniform import told_apart
from reference import random_normalised_weights, random_polynomial_weights, random_weights

from thex_hf.prepared import online
from thex_hf.prepared.clear import ClearRun
from thex_hf.prepared.folding import fold_network
from thex_hf.prepared.masks import ClientMasks, ServerMasks
from thex_hf.prepared.online import ClientShares

SIZES = {"hidden": 8, "heads": 2, "intermediate": 12, "layers": 2}
MAKE = {
    "polynomial": random_polynomial_weights,
    "normalised": lambda **sizes: random_normalised_weights([(4, 2), (2, 1)], **sizes),
    "the-x": random_weights,
}
TEXTS = (
    0.01 * np.random.default_rng(1).normal(size=(1, 8)),
    3.0 + np.random.default_rng(2).normal(size=(8, 8)),
)
EACH = 50  # tickets for one text or model


def network_of(form, seed=0):
    return fold_network(MAKE[form](**SIZES, seed=seed), 8)


def tickets_of(network, half):
    """Half of some tickets: no two share a seed."""
    part = slice(half * EACH, (half + 1) * EACH)
    return list(zip(*(one[part] for one in prepare(network, 2 * EACH)), strict=True))


def stacked(runs):
    """Arrays of each name, of all runs."""
    out = defaultdict(list)
    for arrays in runs:
        for name, array in arrays:
            out[name].append(array)
    return {name: np.stack(arrays) for name, arrays in out.items()}


def at_the_server(network, ticket, x):
    """What comes up, and what that and the server's own share of a product give together."""
    logits, seen, up, _ = run(network, *ticket, x)
    assert (logits == ClearRun(network, NUMBERS, hats=seen).run(x)).all()
    for value, array in zip(network.requested, up[0], strict=True):
        yield value.name, array
    for steps, message in zip(network.rounds, up[1:], strict=True):
        for step, share in zip(steps, message, strict=True):
            name = step.out.name
            if name in seen:
                own = NUMBERS.truncate_hat(seen[name], step.shift)
                yield name, NUMBERS.add(own, share)
            else:
                yield name, share


def at_the_client(network, ticket, x):
    """What comes down and is not to be seen, with the client's own share of it."""
    client_seed, _, row = ticket
    logits, seen, _, down = run(network, *ticket, x)
    assert (logits == ClearRun(network, NUMBERS, hats=seen).run(x)).all()
    client = ClientShares(network, NUMBERS, client_seed, row)
    for number, pairs in enumerate(hidden(network, down)):
        for place, (value, array) in enumerate(pairs):
            yield (number, place), NUMBERS.add(array, client.mask_of(value.name))


@pytest.mark.parametrize("form", MAKE)
@pytest.mark.parametrize("masked", [True, False])
def test_what_goes_up_for_two_texts_is_told_apart_without_masks_only(form, masked, monkeypatch):
    """A short faint one and a long loud one. What replaces a mask is made before there is any."""
    if not masked:

        def zeros(self, value):
            return np.zeros((len(self.seeds), *value.shape), np.uint64)

        monkeypatch.setattr(ClientMasks, "of", zeros)
    network = network_of(form)
    first, second = (
        stacked(at_the_server(network, ticket, x) for ticket in tickets_of(network, half))
        for half, x in enumerate(TEXTS)
    )
    apart = {name for name in first if told_apart(first[name], second[name])}
    of_a_text = set(first) - {step.out.name for step in network.remasks}
    assert apart == (set() if masked else of_a_text)


@pytest.mark.parametrize("form", MAKE)
@pytest.mark.parametrize("masked", [True, False])
def test_what_comes_down_of_two_models_is_told_apart_without_masks_only(form, masked, monkeypatch):
    """But for the answer and, in the THE-X form, what the client is to see."""
    if not masked:

        def zeros(self, step, side):
            value = step.left if side == "left" else step.right
            return np.zeros((len(self.seeds), *value.shape), np.uint64)

        monkeypatch.setattr(ServerMasks, "of_factor", zeros)
    first, second = (
        stacked(at_the_client(network, ticket, TEXTS[1]) for ticket in tickets_of(network, half))
        for half, network in enumerate(network_of(form, seed) for seed in (0, 7))
    )
    apart = {name for name in first if told_apart(first[name], second[name])}
    assert set(first) == set(second)
    assert apart == (set() if masked else set(first))


@pytest.mark.parametrize("head", ["cls", "tokens"])
@pytest.mark.parametrize("softmax", ["estimate", "exact"])
def test_the_the_x_form_shows_what_client_aided_shows(head, softmax, monkeypatch):
    """Attention scores and what enters ReLU, of rows that are read; there is no further one."""
    weights = random_weights(hidden=16, heads=2, intermediate=24, layers=2, head=head)
    network, tokens, seen = fold_network(weights, 16, softmax=softmax), 11, {}
    x = 0.7 * np.random.default_rng(3).normal(size=(tokens, 16))
    make = online.shown

    def watched(numbers, function, whole, values, share):
        seen[values[0].name] = numbers.decode(whole, values[0].bits)
        return make(numbers, function, whole, values, share)

    monkeypatch.setattr(online, "shown", watched)
    [client_seed], [server_seed], rows = prepare(network, 1)
    run(network, client_seed, server_seed, rows[0], x)
    _, _, parts, *_ = run_exactly(weights, 16, x, softmax)
    aided = [part.sends.unpack(vectors) for part, vectors in parts if part.op != "refresh"]
    assert list(seen) == shown(network)
    for ours, theirs in zip(seen.values(), aided, strict=True):
        assert ours.shape == theirs.shape
        true = (slice(tokens),) if ours.ndim == 2 else (slice(None), slice(tokens), slice(tokens))
        assert np.abs(ours[true] - theirs[true]).max() < 0.01
