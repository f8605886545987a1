"""Long texts are scored as the pipeline classifies them with the same windows."""

from __future__ import annotations

import datasets
import pytest
from evaluate import evaluator
from transformers import pipeline

from thex_hf.errors import OptionError
from thex_hf.evaluation import evaluate_model

LONG = "a warm funny film with a dull plot and great actors but far too long for most"
WORDS, SHORT = LONG.split(), "a warm funny film with a"
WINDOW, STRIDE = 8, 2


@pytest.fixture(scope="module")
def pipe(tiny):
    return tiny(seed=1)


def test_scores_with_windows_are_those_of_a_loop(pipe):
    options = {"window": WINDOW, "stride": STRIDE, "pool": "max"}
    texts = [LONG, SHORT, " ".join(reversed(WORDS)), "a warm film"]
    labels, windows = [], 0
    for text in texts:
        labels.append(pipe(text, fhe="disable", **options)[0]["label"])
        windows += len(pipe.report.windows)
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    found = evaluate_model(pipe, rows, fhe="simulate", batch_size=2, **options)
    assert found.clear_metrics == {"accuracy": 1.0}
    assert found.agreement == 1.0
    assert 0 < found.max_logit_difference < 1e-2
    assert (found.cut, found.costs["windows"], found.costs["buckets"]) == (0, 10, {"16": windows})
    cut = [{"text": "word " * 200, "label": "LABEL_0"}]
    assert evaluate_model(pipe, cut, fhe="disable").cut == 1
    assert evaluate_model(pipe, cut, fhe="disable", window=100).cut == 0


def test_tags_beyond_the_cut_are_scored(tagger):
    words = WORDS * 10
    rows = [{"tokens": words, "tags": ["O"] * len(words)}]
    found = evaluate_model(tagger, rows, fhe="disable", window=64, stride=16)
    assert (found.cut, found.costs["windows"]) == (0, 4)
    assert evaluate_model(tagger, rows, fhe="disable").cut == 1


def test_the_evaluator_takes_windows_and_those_of_the_pipeline(pipe):
    data = datasets.Dataset.from_dict({"text": [LONG, SHORT], "label": [0, 1]})
    scorer = evaluator("thex-text-classification")
    given = {"fhe": "disable", "window": WINDOW, "stride": STRIDE}
    assert scorer.compute(pipe, data, **given)["thex"]["windows"] == 5
    assert "windows" not in scorer.compute(pipe, data, fhe="disable")["thex"]
    with pytest.raises(OptionError, match="stride goes with window"):
        scorer.compute(pipe, data, fhe="disable", stride=2)
    own = pipeline(scorer.task, model=pipe.model, tokenizer=pipe.tokenizer, window=WINDOW)
    assert scorer.compute(own, data, fhe="disable")["thex"]["windows"] == 4
