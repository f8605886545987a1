"""What heads beyond [CLS] cost, and that plans made before there were any keep their ids."""

from dataclasses import replace

import numpy as np
import pytest
from reference import random_polynomial_weights, random_weights

from thex_hf.circuits.dispatch import batch_plan_for, plan_for
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.errors import ConversionError, PlanError
from thex_hf.weights import HEADS, MATRICES, EncoderWeights, LayerWeights, PolynomialTerms

TINY = {"hidden": 128, "heads": 2, "intermediate": 512, "labels": 9}
RANGES = [
    {
        "value": 8.0,
        "layer_out": 8.0,
        "scores": 8.0,
        "ffn_pre": 8.0,
        "attention_out": 7.0,
        "stream_in": 5.0,
    }
] * 2
IDS = {
    "client-aided": (
        "fb48c790a55d58b30e34657a75a58a4ad9a9c193067c89d8df2498ba77b9fa39",
        "9014b9e940b27cff5a81d68ae14f7949",
    ),
    "refresh": (
        "ae541cc79f4d8ae19a79fdeb54e4734b8c876f3ccb96ed1fb534c03f3cba120d",
        "5400853dc7bdfebd03a5418fb79dca5d",
    ),
    "one-shot": (
        "ae541cc79f4d8ae19a79fdeb54e4734b8c876f3ccb96ed1fb534c03f3cba120d",
        "b847a1225f79921639295e9c32eac61b",
    ),
}


def same_everywhere(protocol) -> EncoderWeights:
    """Weights that are the same to the last bit on every machine."""

    def filled(array):
        return (np.arange(array.size).reshape(array.shape) % 7 - 3) / 8

    def layer(old):
        names = MATRICES
        arrays = {name: filled(getattr(old, name)) for name in names}
        arrays["attention_scale"] = np.ones(len(old.attention_scale))
        return LayerWeights(**arrays, polynomial=None if protocol == "client-aided" else terms)

    terms = PolynomialTerms(
        2, np.array([1.5, 2.0]), np.array([0.25, 0.5]), np.array([0.125, 0.25, 0.5])
    )
    weights = random_weights()
    return EncoderWeights(
        weights.heads,
        tuple(layer(old) for old in weights.layers),
        filled(weights.classifier),
        filled(weights.classifier_bias),
    )


def make(protocol, **options):
    kind = random_weights if protocol == "client-aided" else random_polynomial_weights
    return kind(**options)


@pytest.mark.parametrize("protocol", IDS)
def test_models_and_plans_for_cls_keep_their_names(protocol):
    weights = same_everywhere(protocol)
    plan = plan_for(weights, 16, RANGES, PlanOptions(protocol))
    assert (weights.fingerprint(), plan.id) == IDS[protocol]
    assert "head" not in plan.shared()


@pytest.mark.parametrize("protocol", IDS)
def test_every_head_has_its_own_name_and_plan(protocol):
    every = [replace(make(protocol), head=head) for head in HEADS]
    assert len({weights.fingerprint() for weights in every}) == len(HEADS)
    plans = [plan_for(weights, 16, RANGES, PlanOptions(protocol)) for weights in every]
    assert len({plan.id for plan in plans}) == len(HEADS)
    assert [plan.shared().get("head") for plan in plans] == [None, "mean", "tokens"]


def test_an_unknown_head_is_refused():
    with pytest.raises(ConversionError, match=r"head should be one of .*; got 'last'"):
        random_weights(head="last")


def test_a_batch_is_for_cls_only():
    for head in ("mean", "tokens"):
        with pytest.raises(
            PlanError, match=f"serves models with head 'cls', this one has '{head}'"
        ):
            batch_plan_for(make("refresh", head=head), 16, RANGES, PlanOptions("refresh"))


@pytest.mark.parametrize(
    ("protocol", "head", "tokens", "costs"),
    [  # N, levels, rounds, key switches
        ("client-aided", "tokens", 16, (8192, 3, 6, 573)),
        ("client-aided", "mean", 32, (8192, 3, 6, 760)),
        ("client-aided", "tokens", 128, (8192, 3, 6, 3760)),
        ("refresh", "tokens", 32, (8192, 5, 4, 630)),
        ("refresh", "mean", 32, (8192, 5, 4, 673)),
        ("refresh", "tokens", 128, (8192, 5, 4, 2928)),
        ("one-shot", "tokens", 32, (32768, 15, 1, 671)),
        ("one-shot", "mean", 64, (32768, 15, 1, 700)),
    ],
)
def test_cost_of_bert_tiny_is_pinned(protocol, head, tokens, costs):
    plan = plan_for(make(protocol, head=head, **TINY), tokens, RANGES, PlanOptions(protocol))
    found = plan.parameters.ring_degree, plan.levels, plan.schedule.rounds, plan.key_switches
    assert found == costs
    plan.parameters.require_128_bit()


@pytest.mark.parametrize("head", ["mean", "tokens"])
def test_last_visits_of_client_aided_are_like_the_others(head):
    """Three levels as for [CLS]; the last FFN comes back a level lower, for it needs no mask."""
    plan = plan_for(make("client-aided", head=head), 32, RANGES, PlanOptions("client-aided"))
    round_trips = plan.schedule.round_trips
    assert [v.name for v in round_trips] == [
        "layer 0 attention",
        "layer 0 ffn",
        "layer 1 stream",
        "layer 1 attention",
        "layer 1 ffn",
    ]
    ffn = [v.parts[0] for v in round_trips if v.name.endswith("ffn")]
    assert ffn[0].sends == ffn[1].sends
    assert [part.returns[0][1] for part in ffn] == [2, 1]
    for first, last in zip(round_trips[0].parts, round_trips[3].parts, strict=True):
        assert first == last


def test_masked_ranges_of_the_last_layer_are_checked():
    wide = [RANGES[0], RANGES[0] | {"value": 2.0**40, "attention_out": 2.0**40}]
    with pytest.raises(PlanError, match="layer 1 value: a masked value needs"):
        plan_for(make("client-aided", head="tokens"), 16, wide, PlanOptions("client-aided"))
    shown = [RANGES[0], RANGES[0] | {"ffn_pre": 2.0**12}]
    with pytest.raises(PlanError, match="layer 1: attention scores or FFN values"):
        plan_for(make("client-aided", head="tokens"), 16, shown, PlanOptions("client-aided"))
    rests = plan_for(make("refresh", head="tokens"), 16, RANGES, PlanOptions("refresh"))
    assert rests.options["rests"] == [0, 1, 2]
    refused = plan_for(make("refresh", head="tokens"), 16, wide, PlanOptions("refresh"))
    assert 2 not in refused.options["rests"]  # a larger ring, and no rest where nothing hides it


@pytest.mark.parametrize(("head", "kind", "level"), [("mean", "dup", 2), ("tokens", "solo", 1)])
@pytest.mark.parametrize("protocol", ["refresh", "one-shot"])
def test_what_the_mask_is_sent_as(protocol, head, kind, level):
    schedule = plan_for(make(protocol, head=head), 16, RANGES, PlanOptions(protocol)).schedule
    packed = schedule.averaging_masks[1:] + schedule.token_masks
    assert [(layout.kind, own) for layout, own in packed] == [(kind, level)]
    assert len(schedule.token_masks) == (head == "tokens")
    assert schedule.inputs == schedule.request + schedule.averaging_masks + schedule.token_masks
