"""Answers outside of what calibration allows."""

import numpy as np
import pytest
from transformers import pipeline

from thex_hf.bounds import check_logits, check_room
from thex_hf.client.scores import best
from thex_hf.errors import RangeError, ThexError

SEEN = {"weights": "0" * 32, "logit": 2.5}


@pytest.mark.parametrize("logits", [[-2.4, 2.4], [0.0, -5.0], [[1.0, 2.0], [3.0, -4.9]]])
def test_what_calibration_allows_passes(logits):
    check_logits(np.array(logits), SEEN)


@pytest.mark.parametrize(
    "logits", [[462.0, 1682.0], [0.0, -5.01], [np.nan, 0.0], [np.inf, 1.0], [[0.0, 1.0], [9.0, 0]]]
)
@pytest.mark.parametrize("fhe", ["execute", "simulate", "disable"])
def test_what_lies_beyond_is_refused_with_what_to_do(logits, fhe):
    with pytest.raises(RangeError, match="What to do") as caught:
        check_logits(np.array(logits), SEEN, fhe)
    assert isinstance(caught.value, ThexError)
    assert "up to 2.5" in str(caught.value)


def test_without_a_record_only_numbers_that_are_none_are_refused():
    for record in (None, {}, {"weights": "0" * 32}):
        check_logits(np.array([1e6, -1e6]), record)
        with pytest.raises(RangeError, match="finite"):
            check_logits(np.array([np.nan, 0.0]), record)


def test_the_client_without_torch_refuses_them_too():
    config = {"id2label": {"0": "NO", "1": "YES"}, "calibration": SEEN}
    assert best(np.array([1.0, 2.0]), config)["label"] == "YES"
    with pytest.raises(RangeError, match=r"1\.7e\+03"):
        best(np.array([462.0, 1682.0]), config)


def test_logits_must_fit_the_first_prime_with_room_to_spare():
    check_room({"weights": "0", "logit": 60.0}, 128.0)
    check_room({"weights": "0"}, 128.0)
    check_room(None, 128.0)
    with pytest.raises(RangeError, match="below 128, and calibration saw one of 70"):
        check_room({"weights": "0", "logit": 70.0}, 128.0)


@pytest.mark.parametrize("protocol", ["client-aided", "refresh"])
def test_a_plan_without_room_for_the_logits_gives_no_answer(protocol):
    pipe = pipeline("thex-text-classification", protocol=protocol)
    pipe("a warm film", fhe="simulate")
    pipe.model.config.calibration = {**pipe.model.config.calibration, "logit": 1e5}
    with pytest.raises(RangeError, match="this plan carries logits below"):
        pipe("a warm film", fhe="simulate")
