"""``evaluate.evaluator("thex-text-classification")`` on pipelines, folders and models."""

from __future__ import annotations

import datasets
import pytest
from evaluate import evaluator
from transformers import pipeline

import thex_hf
from thex_hf.errors import ConversionError, InputError, OptionError
from thex_hf.evaluation import Accuracy, ThexTextClassificationEvaluator, register

GOOD = ["a warm and funny film", "lovely , moving and beautifully acted", "great fun"]
BAD = ["a dull mess", "unflinchingly bleak and desperate", "boring and far too long , sadly"]
TASK = "thex-text-classification"
NAMES = {"total_time_in_seconds", "samples_per_second", "latency_in_seconds", "thex"}


def table(labels=(1, 1, 1, 0, 0, 0), **more):
    return datasets.Dataset.from_dict({"text": GOOD + BAD, "label": list(labels), **more})


@pytest.fixture
def scorer():
    return evaluator(TASK)


def test_the_task_is_known(scorer):
    register()
    assert type(scorer) is ThexTextClassificationEvaluator
    assert type(evaluator("text-classification")).__module__.startswith("evaluate.")


@pytest.mark.usefixtures("no_network")
def test_a_pipeline(scorer, classifier):
    found = scorer.compute(classifier, table(), metric="accuracy", fhe="simulate")
    assert set(found) == NAMES | {"accuracy"}
    assert found["accuracy"] == 1.0
    assert found["samples_per_second"] == pytest.approx(1 / found["latency_in_seconds"])
    ours = found["thex"]
    assert (ours["fhe"], ours["protocol"], ours["rounds"]) == ("simulate", "client-aided", 6)
    assert ours["agreement"] == 1.0
    assert 0 < ours["max_logit_difference"] < 1e-3
    assert ours["seconds"]["server"] > 0


@pytest.mark.slow
def test_ciphertexts(scorer, tiny):
    pipe = tiny()
    data = table().select([0, 3])
    found = scorer.compute(pipe, data, fhe="execute")
    ours = found["thex"]
    assert (ours["fhe"], ours["backend"], ours["agreement"]) == ("execute", "seal", 1.0)
    assert min(ours["bytes"].values()) > 1000
    assert 0 < ours["max_logit_difference"] < 1e-2
    assert ours["seconds"]["keygen"] > 0
    again = scorer.compute(pipe, data, agreement=False)["thex"]  # the pipeline's own mode
    assert again["fhe"] == "execute"
    assert again["seconds"]["keygen"] == 0
    assert "agreement" not in again


@pytest.mark.parametrize("given", ["folder", "model", "nothing"])
def test_what_else_may_be_given(scorer, classifier, given):
    model = {
        "folder": thex_hf.bundled_checkpoint("the-x"),
        "model": classifier.model,
        "nothing": None,
    }
    more = {"tokenizer": classifier.tokenizer} if given == "model" else {}
    found = scorer.compute(model[given], table(), fhe="disable", **more)
    assert found["accuracy"] == 1.0
    assert found["thex"]["backend"] == "torch"
    assert "agreement" not in found["thex"]


def test_options_of_the_pipeline_go_with_a_model(scorer, classifier):
    found = scorer.compute(data=table().select([0]), fhe="simulate", protocol="refresh")
    assert (found["thex"]["protocol"], found["thex"]["rounds"]) == ("refresh", 4)
    with pytest.raises(OptionError, match=r"set in pipeline\(...\)"):
        scorer.compute(classifier, table(), protocol="refresh")
    with pytest.raises(OptionError, match="unknown option 'protocoll'"):
        scorer.compute(None, table(), protocoll="refresh")


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        (["positive", "Positive", "POSITIVE", "negative", "NEGATIVE", "negative"], None),
        ([0, 0, 0, 1, 1, 1], datasets.ClassLabel(names=["positive", "negative"])),
        ([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], None),
        (["1", "1", "1", "0", "0", "0"], None),
        ([1, 1, 1, 0, 0, 0], datasets.ClassLabel(names=["0", "1"])),
        ([1, 1, 1, 0, 0, 0], datasets.ClassLabel(names=["LABEL_0", "LABEL_1"])),
    ],
)
def test_labels_are_matched_to_the_models(scorer, classifier, labels, feature):
    data = table(labels)
    if feature is not None:
        data = data.cast_column("label", feature)
    assert scorer.compute(classifier, data, fhe="disable")["accuracy"] == 1.0


def test_label_mapping(scorer, classifier):
    data, mapping = table([7, 7, 7, 3, 3, 7]), {"POSITIVE": 7, "NEGATIVE": 3}
    found = scorer.compute(classifier, data, fhe="disable", label_mapping=mapping)
    assert found["accuracy"] == pytest.approx(5 / 6)
    with pytest.raises(InputError, match="NEGATIVE missing"):
        scorer.compute(classifier, data, fhe="disable", label_mapping={"POSITIVE": 7})


@pytest.mark.parametrize("labels", [[1, 1, 1, 0, 0, -1], [1, 1, 1, 0, 0, 2], ["no"] * 6])
def test_labels_that_fit_nothing(scorer, classifier, labels):
    with pytest.raises(InputError, match="NEGATIVE, POSITIVE or 0 to 1"):
        scorer.compute(classifier, table(labels), fhe="disable")


def test_metrics(scorer, classifier):
    def names(metric):
        found = scorer.compute(classifier, table(), metric=metric, fhe="disable")
        return set(found) - NAMES

    assert names("mrpc") == names(["accuracy", "f1"]) == {"accuracy", "f1"}
    assert names(Accuracy()) == {"accuracy"}
    with pytest.raises(OptionError, match="did you mean"):
        names("acuracy")
    with pytest.raises(OptionError, match="scores numbers"):
        names("pearsonr")


def test_bootstrap(scorer, classifier):
    found = scorer.compute(
        classifier, table([1, 1, 1, 0, 0, 1]), fhe="disable", strategy="bootstrap",
        n_resamples=20, random_state=0,
    )  # fmt: skip
    low, high = found["accuracy"]["confidence_interval"]
    assert found["accuracy"]["score"] == pytest.approx(5 / 6)
    assert low < high


def test_pairs_are_pairs(scorer, tiny):
    pipe = tiny(seed=2)
    data = table(second=BAD + GOOD)
    inputs = [{"text": a, "text_pair": b} for a, b in zip(GOOD + BAD, BAD + GOOD, strict=True)]
    pipe(inputs, fhe="disable")
    said = [int(r.logits[1] > r.logits[0]) for r in pipe.reports]
    data = data.remove_columns("label").add_column("label", said)
    found = scorer.compute(pipe, data, fhe="disable", second_input_column="second")
    assert found["accuracy"] == 1.0


def test_regression(scorer, regressor):
    regressor(GOOD + BAD, fhe="disable")
    true = [2 * r.logits[0] + 1 for r in regressor.reports]
    found = scorer.compute(regressor, table(true), fhe="disable")
    assert found["pearsonr"] == pytest.approx(1.0)
    assert found["spearmanr"] == pytest.approx(1.0)
    with pytest.raises(InputError, match="expected a number"):
        scorer.compute(regressor, table(["a"] * 6), fhe="disable")


def test_errors(scorer, classifier):
    stock = pipeline(
        "text-classification", model=classifier.model, tokenizer=classifier.tokenizer, device=-1
    )
    with pytest.raises(OptionError, match="thex-text-classification"):
        scorer.compute(stock, table())
    with pytest.raises(OptionError, match="tokenizer"):
        scorer.compute(classifier.model, table())
    with pytest.raises(ConversionError, match="no/such-model"):
        scorer.compute("no/such-model", table())
    with pytest.raises(OptionError, match="fhe must be one of"):
        scorer.compute(classifier, table(), fhe="encrypt")
    with pytest.raises(ValueError, match="sentence"):
        scorer.compute(classifier, table(), input_column="sentence")
