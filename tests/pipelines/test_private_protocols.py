"""``refresh`` and ``one-shot`` through the pipeline, on the bundled polynomial checkpoint."""

import numpy as np
import pytest
from transformers import pipeline

from thex_hf import bundled_checkpoint
from thex_hf.errors import OptionError, PlanError

GOOD, BAD = "a gorgeous, witty, seductive movie.", "this is a truly terrible film"
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def refresh():
    return pipeline("thex-text-classification", protocol="refresh")


def test_refresh_on_real_ciphertexts(refresh):
    """The server's masks go to the client and come back, under SEAL at 128 bits."""
    result = refresh([GOOD, BAD], agreement=True)
    assert [row["label"] for row in result] == ["POSITIVE", "NEGATIVE"]
    for report in refresh.reports:
        assert (report.protocol, report.backend, report.fhe) == ("refresh", "seal", "execute")
        assert report.agreement.same_label
        assert report.agreement.largest_logit_difference < TOLERANCE
        assert report.rounds == 4
        assert report.bytes.keys < 150e6


def test_no_model_named_means_the_bundled_one_that_fits(refresh):
    assert refresh.model.name_or_path == bundled_checkpoint("polynomial")
    assert refresh.model.config.form == "polynomial"


def test_a_polynomial_model_runs_refresh_by_default():
    pipe = pipeline("thex-text-classification", model=bundled_checkpoint("polynomial"))
    assert pipe.protocol == "refresh"


@pytest.mark.parametrize("protocol", ["refresh", "one-shot"])
def test_simulate_agrees_with_clear(protocol):
    pipe = pipeline("thex-text-classification", protocol=protocol, ring=16384)
    for text in (GOOD, BAD, "🙂 ünïcödé"):
        pipe(text, fhe="simulate", agreement=True)
        assert pipe.report.agreement.largest_logit_difference < TOLERANCE
    assert pipe.report.ring_degree == 16384
    if protocol == "one-shot":
        assert pipe.report.rounds == 1


@pytest.mark.slow
def test_a_strong_flood_takes_a_larger_ring_and_keeps_the_answer():
    light, strong = (
        pipeline("thex-text-classification", protocol="one-shot", flood=flood)
        for flood in ("light", "strong")
    )
    for text in (GOOD, BAD):
        found = strong(text, fhe="simulate", agreement=True)[0]["label"]
        assert found == light(text, fhe="simulate")[0]["label"]
        assert strong.report.agreement.largest_logit_difference < 2.0**-4
    assert light.report.ring_degree < strong.report.ring_degree


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"protocol": "refresh", "softmax": "exact"}, OptionError, "client-aided"),
        ({"protocol": "oneshot"}, OptionError, "did you mean 'one-shot'"),
    ],
)
def test_what_a_polynomial_model_cannot_do(refresh, options, error, reason):
    with pytest.raises(error, match=reason):
        pipeline(
            "thex-text-classification",
            model=refresh.model,
            tokenizer=refresh.tokenizer,
            **options,
        )


def test_a_ring_that_does_not_carry_the_circuit_is_refused():
    pipe = pipeline("thex-text-classification", protocol="one-shot", ring=8192)
    with pytest.raises(PlanError, match="refresh"):
        pipe(GOOD)


@pytest.mark.slow
def test_two_calls_give_different_noise_and_the_same_answer():
    pipe = pipeline("thex-text-classification", protocol="refresh")
    logits = []
    for _ in range(2):
        pipe(GOOD, fhe="simulate")
        logits.append(pipe.report.logits)
    assert 0 < np.abs(np.subtract(*logits)).max() < TOLERANCE
