"""The plan's number: by how many bits the flood exceeds the error of a logit."""

from dataclasses import replace

import numpy as np
import pytest
from reference import polynomial_logits, random_polynomial_weights

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.dispatch import batch_plan_for, plan_for
from thex_hf.circuits.flood import FLOOD_BITS, STRONG_BITS, sensitivity
from thex_hf.circuits.plan_reading import read_plan
from thex_hf.circuits.polynomial.folding import fold_polynomial
from thex_hf.circuits.protocols import FLOODS, PlanOptions
from thex_hf.errors import OptionError, PlanError
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.server import ServedModel, ServerRun

RANGES = {"attention_out": 7.0, "stream_in": 7.0}
SAFE_BITS = 5  # the estimate is no further below what is measured


def model(**sizes):
    sizes = {"layers": 1, "hidden": 16, "intermediate": 16} | sizes
    return random_polynomial_weights(**sizes), [RANGES] * sizes["layers"]


def measured_margin(weights, plan, backend, texts):
    """Bits between the deviations of the flood and of the logits' error, before the flood."""
    options = {**plan.options, "flood_bits": 1100, "waste_bits": -1100}
    quiet = replace(plan, options=options)
    secret, keys = backend.generate(key_request(quiet))
    client = backend.client(quiet.parameters, secret)
    server = backend.server(quiet.parameters, keys, quiet.rotations)
    errors = []
    for seed in range(texts):
        text = np.random.default_rng(seed).normal(size=(12, weights.hidden)) * 0.7
        run = ClientRun(quiet, client, keys.key_id, text)
        side = ServerRun(ServedModel(weights), quiet, server, keys.key_id)
        sent = side.start(run.request())
        while (reply := run.receive(sent)) is not None:
            sent = side.reply(reply)
        errors.append((run.logits - polynomial_logits(weights, text)).ravel())
    rms = np.sqrt(np.mean(np.concatenate(errors) ** 2))
    return np.log2(2.0 ** -plan.options["flood_bits"] / np.sqrt(3) / rms)


@pytest.mark.parametrize(
    ("sizes", "protocol", "ring"),
    [
        ({"layers": 2, "hidden": 32, "intermediate": 32}, "refresh", 8192),
        ({"head": "tokens"}, "refresh", 8192),
        ({"layers": 2, "hidden": 32, "intermediate": 32}, "one-shot", 16384),
        ({"head": "mean"}, "one-shot", 16384),
        ({"head": "tokens"}, "one-shot", 16384),
        ({}, "one-shot", 32768),
    ],
)
def test_the_margin_is_on_the_safe_side_of_what_is_measured(sizes, protocol, ring):
    weights, ranges = model(**sizes)
    plan = plan_for(weights, 16, ranges, PlanOptions(protocol, ring=ring))
    stated = plan.options["margin_bits"]
    assert stated <= measured_margin(weights, plan, get_backend("clear"), 4) < stated + SAFE_BITS


def test_on_ciphertexts():
    weights, ranges = model()
    plan = plan_for(weights, 16, ranges, PlanOptions("refresh", ring=8192))
    stated = plan.options["margin_bits"]
    found = measured_margin(weights, plan, get_backend("seal"), 4)
    assert stated <= found < stated + SAFE_BITS


def test_sensitivity_is_the_gradient_of_the_logits():
    """Root mean square over directions, of a row at zero: the linear part."""
    for head in ("cls", "mean"):
        weights, _ = model(head=head)
        twice = replace(weights, classifier=2 * weights.classifier)
        one, two = (sensitivity(fold_polynomial(w).head, 1.0) for w in (weights, twice))
        assert two == pytest.approx(2 * one)
        assert sensitivity(fold_polynomial(weights).head, 4.0) > one


def test_a_strong_flood_takes_the_smallest_ring_that_carries_it():
    weights, ranges = model()
    assert set(FLOODS) == {"light", "strong"}
    light = plan_for(weights, 16, ranges, PlanOptions("one-shot"))
    assert light == plan_for(weights, 16, ranges, PlanOptions("one-shot", flood="light"))
    strong = plan_for(weights, 16, ranges, PlanOptions("one-shot", flood="strong"))
    assert light.options["flood_bits"] == FLOOD_BITS[0]
    assert light.options["margin_bits"] < STRONG_BITS <= strong.options["margin_bits"]
    assert strong.id != light.id
    assert read_plan(strong.to_json()).options == strong.options


def test_what_carries_no_strong_flood_is_refused():
    weights, ranges = model(layers=2, hidden=32, intermediate=32)
    with pytest.raises(PlanError, match=r"strong flood .* 20 bits, but no ring .* more than"):
        plan_for(weights, 16, ranges, PlanOptions("refresh", ring=8192, flood="strong"))
    with pytest.raises(PlanError, match="strong flood"):
        batch_plan_for(weights, 16, ranges, PlanOptions("refresh", ring=8192, flood="strong"))
    with pytest.raises(OptionError, match="flood must be one of"):
        PlanOptions("refresh", flood="none")
