"""A server of another model, another protocol, or of plans that do not fit each other."""

import dataclasses
import json
from functools import cache

import numpy as np
import pytest
from reference import random_polynomial_weights, random_weights

import thex_hf
from thex_hf.circuits.dispatch import batch_plan_for, plan_for
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.client.client import ThexClient
from thex_hf.client.exchange import Client
from thex_hf.client.half import ClientHalf
from thex_hf.client.plans import ModelFacts
from thex_hf.errors import ConversionError, OptionError, PlanMismatch
from thex_hf.modeling.opening import open_model

FORMS = ("the-x", "polynomial")


class Says:
    """A server that sends the plans it was given, and never gets as far as keys."""

    def __init__(self, *plans):
        self.plans = {
            str(index): json.loads(json.dumps(p.to_json())) for index, p in enumerate(plans)
        }

    def info(self):
        return {"backend": "seal", "plans": self.plans}


@cache
def plan(protocol="refresh", tokens=16, ring=None, softmax="estimate", **sizes):
    make = random_weights if protocol == "client-aided" else random_polynomial_weights
    return plan_for(make(**sizes), tokens, None, PlanOptions(protocol, softmax, ring))


@cache
def half_of(form):
    return ClientHalf.open(thex_hf.bundled_checkpoint(form))


@cache
def weights_of(form):
    return open_model(thex_hf.bundled_checkpoint(form)).encoder_weights()


@pytest.mark.parametrize("form", FORMS)
def test_the_fingerprint_without_torch_is_the_servers(form):
    assert half_of(form).facts == ModelFacts.of(weights_of(form))


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_half_knows_its_encoder(form, tmp_path):
    own = ClientHalf.open(half_of(form).save(tmp_path / "half"))
    assert own.facts == half_of(form).facts
    assert ClientHalf.open(own.save(tmp_path / "again")).facts == own.facts


def test_a_half_of_an_earlier_version_says_what_to_do(tmp_path):
    place = half_of("polynomial").save(tmp_path / "half")
    config = json.loads((place / "config.json").read_text())
    del config["encoder"]
    (place / "config.json").write_text(json.dumps(config))
    half = ClientHalf.open(place)
    with pytest.raises(ConversionError, match="write it again where the whole model is"):
        ThexClient(half, Says(plan()))


def test_other_encoders_labels_and_sizes_are_refused():
    half, weights = half_of("polynomial"), weights_of("polynomial")
    own = plan_for(weights, 16, None, PlanOptions("refresh"))
    assert ThexClient(half, Says(own)).client.protocol == "refresh"
    three = dataclasses.replace(
        weights,
        classifier=np.vstack([weights.classifier, weights.classifier[:1]]),
        classifier_bias=np.append(weights.classifier_bias, 0),
    )
    liar = plan_for(three, 16, None, PlanOptions("refresh"))
    object.__setattr__(liar, "model", own.model)
    with pytest.raises(PlanMismatch, match="its labels is 3, here it is 2"):
        ThexClient(half, Says(liar))
    for other in (plan(hidden=128), plan(layers=1)):
        with pytest.raises(PlanMismatch, match="another model than this client: its model"):
            ThexClient(half, Says(other))
    aided = plan_for(weights_of("the-x"), 16, None, PlanOptions("client-aided"))
    object.__setattr__(aided, "model", own.model)
    with pytest.raises(PlanMismatch, match="its form is the-x, here it is polynomial"):
        ThexClient(half, Says(aided))


def test_another_protocol_than_asked_for_is_refused():
    half, weights = half_of("polynomial"), weights_of("polynomial")
    server = Says(plan_for(weights, 16, None, PlanOptions("refresh")))
    assert ThexClient(half, server, protocol="refresh").client.protocol == "refresh"
    with pytest.raises(OptionError, match="runs the protocol refresh, not one-shot"):
        ThexClient(half, server, protocol="one-shot")


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({}, {"protocol": "one-shot", "tokens": 128}, "differ in their protocol"),
        ({}, {"tokens": 128, "seed": 1}, "differ in their model"),
        ({"tokens": 128}, {"tokens": 128, "ring": 16384}, "two plans for 128 tokens"),
        (
            {"protocol": "client-aided"},
            {"protocol": "client-aided", "tokens": 32, "softmax": "exact"},
            "differ in their softmax",
        ),
    ],
)
def test_plans_that_do_not_fit_each_other_are_refused(one, other, words):
    with pytest.raises(PlanMismatch, match=words):
        Client(Says(plan(**one), plan(**other)))


def test_a_plan_for_many_texts_is_refused():
    many = batch_plan_for(random_polynomial_weights(), 16, None, PlanOptions("refresh"))
    with pytest.raises(PlanMismatch, match="many texts"):
        Client(Says(many))


def test_the_same_plan_may_serve_two_lengths():
    assert list(Client(Says(plan(), plan())).plans.singles) == [plan().shape.tokens]
