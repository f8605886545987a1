"""Keywords of ``compute``: as evaluate's metrics take them, or refused."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

from thex_hf.errors import OptionError
from thex_hf.evaluation import F1, Accuracy, MatthewsCorrelation, SequenceF1, load_metric

TRUE = [0, 0, 0, 1, 1, 2]
SAID = [0, 0, 1, 1, 0, 2]
WEIGHTS = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]


def test_accuracy():
    def ask(**options):
        return Accuracy().compute(predictions=SAID, references=TRUE, **options)["accuracy"]

    assert ask(normalize=False) == 4.0
    assert ask(sample_weight=WEIGHTS) == pytest.approx((1 + 2 + 1 + 3) / 12)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
def test_f1_averages_are_named_as_evaluate_names_them(average):
    found = F1().compute(predictions=SAID, references=TRUE, average=average)
    assert set(found) == {"f1"}
    np.testing.assert_allclose(found["f1"], f1_score(TRUE, SAID, average=average))


def test_f1_of_another_class_and_of_some_classes():
    said, true = [1, 1, 0, 0], [1, 0, 1, 1]
    found = F1().compute(predictions=said, references=true, pos_label=0)
    assert found["f1"] == pytest.approx(f1_score(true, said, pos_label=0))
    options = {"average": "macro", "labels": [0, 1], "sample_weight": WEIGHTS}
    found = F1("macro").compute(predictions=SAID, references=TRUE, **options)
    assert found == pytest.approx({"f1_macro": f1_score(TRUE, SAID, **options)})
    found = F1().compute(predictions=[0, 0], references=[0, 0], zero_division=1.0)
    assert found == {"f1": 1.0}


def test_correlations():
    found = MatthewsCorrelation().compute(predictions=SAID, references=TRUE, sample_weight=WEIGHTS)
    assert found["matthews_correlation"] == pytest.approx(
        matthews_corrcoef(TRUE, SAID, sample_weight=WEIGHTS)
    )
    for name, chance in (("pearsonr", "p-value"), ("spearmanr", "spearmanr_pvalue")):
        found = load_metric(name).compute(predictions=SAID, references=TRUE, return_pvalue=True)
        true = getattr(stats, name)(TRUE, SAID)
        assert found == pytest.approx({name: true.statistic, chance: true.pvalue})


def test_entities_by_a_scheme():
    true, said = [["I-PER", "O"]], [["B-PER", "O"]]
    ask = SequenceF1().compute
    assert ask(predictions=said, references=true)["overall_f1"] == 1.0
    strict = ask(predictions=said, references=true, mode="strict", scheme="IOB2")
    assert strict["overall_f1"] == 0.0  # an entity begins with B there, and the truth has none
    ends = ask(predictions=[["PER-B", "O"]], references=[["PER-B", "O"]], suffix=True)
    assert ends["PER"]["number"] == 1


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("accuracy", {"average": "macro"}, "no average; on offer: normalize, sample_weight"),
        ("accuracy", {"sample_weight": [1.0]}, "accuracy: sample_weight=.* cannot be used"),
        ("f1", {"average": "mean"}, "average must be one of"),
        ("f1", {"average": "macro", "sample_weight": [1.0]}, "f1: .* cannot be used"),
        ("matthews_correlation", {"average": "macro"}, "on offer: sample_weight"),
        ("pearsonr", {"sample_weight": WEIGHTS}, "on offer: return_pvalue"),
        ("pearson_spearman", {"return_pvalue": True}, "on offer: none"),
    ],
)
def test_what_is_not_on_offer(name, options, words):
    metric = load_metric(name)
    with pytest.raises(OptionError, match=words):
        metric.compute(predictions=SAID, references=TRUE, **options)
    plain = {"average": "macro"} if name == "f1" else {}
    assert metric.compute(predictions=SAID, references=TRUE, **plain)  # it can be used again


@pytest.mark.parametrize(
    ("options", "words"),
    [({"scheme": "IOB3"}, "scheme must be one of IOB1"), ({"mode": "strict"}, "needs a scheme"),
     ({"mode": "hard"}, "None or 'strict'")],
)  # fmt: skip
def test_schemes_that_are_not_on_offer(options, words):
    with pytest.raises(OptionError, match=words):
        SequenceF1().compute(predictions=[["O"]], references=[["O"]], **options)


def test_combined_metrics_share_their_keywords():
    both = evaluate.combine([Accuracy(), F1("macro")])
    found = both.compute(predictions=SAID, references=TRUE, sample_weight=[1.0] * 6)
    assert set(found) == {"accuracy", "f1_macro"}
