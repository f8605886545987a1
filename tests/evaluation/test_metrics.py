"""Metrics against figures worked out by hand, and what they say to odd data."""

from __future__ import annotations

import importlib
import logging
import math
import sys

import evaluate
import numpy as np
import pytest
import torch

from thex_hf.errors import BackendUnavailable, InputError, OptionError
from thex_hf.evaluation import (
    F1,
    GLUE,
    Accuracy,
    Agreement,
    MatthewsCorrelation,
    SequenceF1,
    load_metric,
    metric_names,
)
from thex_hf.evaluation import base as libraries
from thex_hf.evaluation.registry import resolve

TRUE = [0, 0, 0, 1, 1, 2]
SAID = [0, 0, 1, 1, 0, 2]  # per class: F1 of 2/3, 1/2 and 1


@pytest.fixture
def warnings_of(caplog):
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", {"accuracy": 4 / 6}),
        ("f1_macro", {"f1_macro": (2 / 3 + 1 / 2 + 1) / 3}),
        ("f1-micro", {"f1_micro": 4 / 6}),
        ("f1_weighted", {"f1_weighted": (3 * 2 / 3 + 2 * 1 / 2 + 1) / 6}),
    ],
)
def test_classes(name, expected):
    metric = load_metric(name)
    assert isinstance(metric, evaluate.Metric)
    assert metric.compute(predictions=SAID, references=TRUE) == pytest.approx(expected)


def test_f1_of_two_classes_scores_class_one():
    # 1 right of 2 said and of 3 there: precision 1/2, recall 1/3
    found = F1().compute(predictions=[1, 1, 0, 0], references=[1, 0, 1, 1])
    assert found == pytest.approx({"f1": 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)})
    with pytest.raises(OptionError, match="use f1_macro"):
        F1().compute(predictions=SAID, references=TRUE)


def test_matthews_correlation():
    # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)) with TP 2, TN 1, FP 1, FN 1
    found = MatthewsCorrelation().compute(predictions=[1, 1, 1, 0, 0], references=[1, 1, 0, 0, 1])
    assert found == pytest.approx({"matthews_correlation": (2 - 1) / math.sqrt(3 * 3 * 2 * 2)})


def test_correlations():
    found = load_metric("stsb").compute(predictions=[1.0, 2.0, 4.0], references=[1.0, 2.0, 3.0])
    slope = np.corrcoef([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])[0, 1]
    assert found == pytest.approx({"pearsonr": slope, "spearmanr": 1.0})
    assert load_metric("pearson_spearman").compute(
        predictions=[1.0, 2.0, 4.0], references=[1.0, 2.0, 3.0]
    ) == pytest.approx(found)


@pytest.mark.parametrize("name", ["f1", "matthews_correlation"])
def test_one_class_gives_a_warning_and_no_error(name, warnings_of, recwarn):
    found = load_metric(name).compute(predictions=[0, 0], references=[0, 0])
    assert found == {name: 0.0}
    assert ["one class" in line for line in warnings_of()] == [True]
    assert not recwarn.list


def test_a_correlation_with_a_constant_is_not_a_number(warnings_of, recwarn):
    found = load_metric("pearsonr").compute(predictions=[1.0, 1.0], references=[0.0, 2.0])
    assert math.isnan(found["pearsonr"])
    assert len(warnings_of()) == 1
    assert not recwarn.list
    with pytest.raises(InputError, match="two texts"):
        load_metric("spearmanr").compute(predictions=[1.0], references=[0.0])


def test_several_classes_a_text():
    said, true = [[1, 0, 1], [0, 0, 1]], [[1, 0, 0], [0, 0, 1]]
    assert load_metric("accuracy", multilabel=True).compute(predictions=said, references=true) == {
        "accuracy": 0.5  # only the second text is wholly right
    }
    found = load_metric("f1", multilabel=True).compute(predictions=said, references=true)
    assert found == pytest.approx({"f1": 0.8})  # 2 right of 3 said and 2 there
    with pytest.raises(OptionError, match="use accuracy"):
        load_metric("matthews_correlation", multilabel=True)


def test_entities_count_when_type_and_both_ends_are_right():
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER", "O"]]
    said = [["B-PER", "I-PER", "O", "B-PER"], ["B-PER", "I-PER", "O"]]  # a type and a start wrong
    found = SequenceF1().compute(predictions=said, references=true)
    assert found["overall_precision"] == pytest.approx(1 / 3)
    assert found["overall_recall"] == pytest.approx(1 / 3)
    assert found["overall_f1"] == pytest.approx(1 / 3)
    assert found["overall_accuracy"] == pytest.approx(4 / 7)
    assert found["LOC"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 1}
    assert found["PER"]["number"] == 2


def test_texts_without_entities(recwarn):
    found = SequenceF1().compute(predictions=[["O", "O"]], references=[["O", "O"]])
    assert (found["overall_f1"], found["overall_accuracy"]) == (0.0, 1.0)
    assert not recwarn.list
    with pytest.raises(InputError, match="text 1: expected one tag for each of 2 words"):
        SequenceF1().compute(predictions=[["O"]], references=[["O", "O"]])


def test_agreement_of_logits():
    own, clear = [[1.0, 0.0], [0.2, 0.1]], [[1.25, 0.0], [0.1, 0.2]]
    found = Agreement().compute(predictions=own, references=clear)
    assert found == pytest.approx({"agreement": 0.5, "max_logit_difference": 0.25})
    found = Agreement("multilabel").compute(predictions=[[1.0, 2.0]], references=[[1.0, -1.0]])
    assert found == {"agreement": 0.0, "max_logit_difference": 3.0}
    found = Agreement().compute(predictions=[[1.0], [2.0]], references=[[1.5], [2.0]])
    assert found == {"max_logit_difference": 0.5}  # no label to agree on
    with pytest.raises(InputError, match="equally many logits"):
        Agreement().compute(predictions=[[1.0]], references=[[1.0, 2.0]])


def test_inputs_that_evaluate_takes():
    for said, true in [
        (np.array(SAID), np.array(TRUE)),
        (torch.tensor(SAID), torch.tensor(TRUE)),
    ]:
        found = Accuracy().compute(predictions=said, references=true)
        assert found == pytest.approx({"accuracy": 4 / 6})
    metric = Accuracy()
    metric.add_batch(predictions=SAID[:3], references=TRUE[:3])
    metric.add_batch(predictions=SAID[3:], references=TRUE[3:])
    assert metric.compute() == pytest.approx({"accuracy": 4 / 6})
    both = evaluate.combine([Accuracy(), F1("macro")])
    assert set(both.compute(predictions=SAID, references=TRUE)) == {"accuracy", "f1_macro"}


@pytest.mark.parametrize("given", [{}, {"predictions": [], "references": []}])
def test_nothing_to_score(given):
    with pytest.raises(InputError, match="accuracy: nothing to score"):
        Accuracy().compute(**given)


def test_names():
    assert set(GLUE) >= {"sst2", "mrpc", "rte", "stsb", "qnli", "mnli", "qqp", "cola"}
    assert resolve("glue/MRPC") == ("accuracy", "f1")
    assert resolve("STS-B", "numbers") == ("pearsonr", "spearmanr")
    for name in metric_names():
        assert isinstance(load_metric(name), evaluate.Metric)
    with pytest.raises(OptionError, match="did you mean 'accuracy'") as error:
        load_metric("acuracy")
    assert all(name in str(error.value) for name in (*metric_names(), *GLUE))


def test_a_metric_that_does_not_suit_the_model():
    with pytest.raises(OptionError, match="use pearsonr, spearmanr, pearson_spearman"):
        resolve("accuracy", "numbers")
    with pytest.raises(OptionError, match="average must be one of"):
        F1("mean")


@pytest.mark.parametrize(
    "missing", ["evaluate", "sklearn.metrics", "scipy.stats", "seqeval.metrics"]
)
def test_a_missing_library_is_named_with_its_extra(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'thex_hf\[evaluate\]'"):
        importlib.reload(libraries)
