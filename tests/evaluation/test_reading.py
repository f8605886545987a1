"""Rows and data sets given to ``evaluate``: pairs, missing texts, the order of classes."""

from __future__ import annotations

import json
import logging

import datasets
import numpy as np
import pytest
from evaluate import evaluator
from typer.testing import CliRunner

from thex_hf.cli.main import commands
from thex_hf.conversion.data.table import Place
from thex_hf.errors import ConversionError, DataError, InputError, OptionError
from thex_hf.evaluation import evaluate_model
from thex_hf.evaluation.reading import read
from thex_hf.evaluation.runs import run_both
from thex_hf.modeling import ThexBertConfig
from thex_hf.pipelines.report import Report

GOOD = ["a warm and funny film", "lovely , moving and beautifully acted", "great fun"]
BAD = ["a dull mess", "unflinchingly bleak and desperate", "boring and far too long , sadly"]
TURNED = ["positive", "negative"]


def rows(texts, labels=(1, 1, 1, 0, 0, 0)):
    return [{"text": text, "label": x} for text, x in zip(texts, labels, strict=True)]


def table(labels, feature=None, texts=GOOD + BAD):
    data = datasets.Dataset.from_dict({"text": texts, "label": list(labels)})
    return data if feature is None else data.cast_column("label", feature)


@pytest.fixture(scope="module")
def score():
    return evaluator("thex-text-classification").compute


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, 5, b"x", ["a"], "", " "])
def test_a_missing_text_is_no_word(classifier, missing):
    data = rows([*GOOD, *BAD[:2], missing])
    with pytest.raises(InputError, match=r"row 6 (has|should have)"):
        evaluate_model(classifier, data, fhe="disable")
    found = evaluate_model(classifier, data, fhe="disable", on_error="skip")
    assert (found.texts, found.texts_in_data, found.metrics) == (5, 6, {"accuracy": 1.0})
    assert found.skipped[0].place.row == 6


def test_every_row_decides_whether_there_are_pairs(classifier):
    def of(*seconds):
        return [{"text": "a", "text_pair": x, "label": 1} for x in seconds]

    config = classifier.model.config
    assert read(of("b", "c"), config, "").pairs == ("b", "c")
    assert read(of(None, None), config, "").pairs is None
    for odd in (None, float("nan"), ""):
        with pytest.raises(DataError, match=r"row 1 .*second text"):
            read(of(odd, "b"), config, "")
        with pytest.raises(DataError, match=r"row 2 .*second text"):
            read(of("b", odd), config, "")
    mixed = [{"text": "a", "label": 1}, {"text": "a", "text_pair": "b", "label": 1}]
    with pytest.raises(DataError, match="row 1 has no second text"):
        read(mixed, config, "")


def test_classes_in_another_order(classifier, score, tmp_path):
    feature = datasets.ClassLabel(names=TURNED)
    data = table([0, 0, 0, 1, 1, 1], feature)
    assert score(classifier, data, fhe="disable")["accuracy"] == 1.0
    assert evaluate_model(classifier, data, fhe="disable").metrics == {"accuracy": 1.0}
    splits = datasets.DatasetDict({"validation": data})
    assert evaluate_model(classifier, splits, fhe="disable").metrics == {"accuracy": 1.0}
    data.to_parquet(tmp_path / "set" / "validation-00000-of-00001.parquet")
    shown = CliRunner().invoke(
        commands, ["evaluate", "--data", str(tmp_path / "set"), "--fhe", "disable", "--json"]
    )
    assert json.loads(shown.stdout.splitlines()[-1])["metrics"] == {"accuracy": 1.0}


def test_other_class_names_are_refused(classifier, score):
    data = table([1, 1, 1, 0, 0, 0], datasets.ClassLabel(names=["bad", "good"]))
    for ask in (score, evaluate_model):
        with pytest.raises(InputError, match="the data have bad, good"):
            ask(classifier, data, fhe="disable")
    mapping = {"NEGATIVE": 0, "POSITIVE": 1}
    assert score(classifier, data, fhe="disable", label_mapping=mapping)["accuracy"] == 1.0


def test_hidden_and_missing_labels_name_the_row(classifier, score):
    feature = datasets.ClassLabel(names=TURNED)
    for labels, column in (([0, 0, 0, 1, 1, -1], feature), ([1, 1, 1, 0, 0, None], None)):
        with pytest.raises(InputError, match=r"row 6 has (the label -1|no label)"):
            score(classifier, table(labels, column), fhe="disable")


def test_regression_refuses_classes_and_what_is_not_finite(regressor, score):
    data = table([0, 0, 0, 1, 1, 1], datasets.ClassLabel(names=["1", "5"]))
    with pytest.raises(InputError, match="has the classes 1, 5"):
        score(regressor, data, fhe="disable")
    for odd in (float("nan"), float("inf"), None):
        with pytest.raises(InputError, match="row 6 has the label"):
            score(regressor, table([0.0, 1.0, 2.0, 3.0, 4.0, odd]), fhe="disable")
        with pytest.raises(InputError, match="row 6 has the label"):
            evaluate_model(regressor, rows(GOOD + BAD, [0, 1, 2, 3, 4, odd]), fhe="disable")


def test_the_evaluator_skips_or_refuses(classifier, score, caplog):
    data = table([1, 1, 1, 0, 0, 0], texts=[*GOOD, None, " ", BAD[0]])
    with pytest.raises(InputError, match=r"row 4 has no text, .* and 1 rows more"):
        score(classifier, data, fhe="disable")
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    found = score(classifier, data, fhe="disable", on_error="skip")
    logger.removeHandler(caplog.handler)
    assert "2 rows were left out of the scores: row 4 has no text, got None; row 5" in caplog.text
    assert found["accuracy"] == 1.0
    assert [row["row"] for row in found["thex"]["skipped"]] == [4, 5]
    assert found["thex"]["texts"] == 4
    with pytest.raises(OptionError, match="on_error must be one of raise, skip"):
        score(classifier, data, fhe="disable", on_error="ignore")


def test_the_evaluator_of_tags_skips_or_refuses(tagger):
    score = evaluator("thex-token-classification").compute
    words = [["Ann", "sat"], [], ["Bob", ""]]
    tags = [["O", "O"], [], ["O", "O"]]
    data = datasets.Dataset.from_dict({"tokens": words, "ner_tags": tags})
    with pytest.raises(InputError, match=r"row 2 has an empty text \(0 words\)"):
        score(tagger, data, fhe="disable")
    found = score(tagger, data, fhe="simulate", on_error="skip")
    assert [row["reason"] for row in found["thex"]["skipped"]] == [
        "has an empty text (0 words)",
        "has an empty word",
    ]
    assert (found["thex"]["texts"], found["thex"]["agreement"]) == (1, 1.0)


def test_tags_with_other_names_are_refused(tagger):
    score = evaluator("thex-token-classification").compute
    data = datasets.Dataset.from_dict({"tokens": [["Ann"]], "ner_tags": [["B-PERSON"]]})
    with pytest.raises(InputError, match="row 1 has the label 'B-PERSON'"):
        score(tagger, data, fhe="disable")
    feature = datasets.Sequence(datasets.ClassLabel(names=["O", "B-PERSON"]))
    data = datasets.Dataset.from_dict({"tokens": [["Ann"]], "ner_tags": [[1]]})
    with pytest.raises(InputError, match="the data have O, B-PERSON"):
        score(tagger, data.cast_column("ner_tags", feature), fhe="disable")


def test_the_command_skips_and_says_so(tmp_path):
    path = tmp_path / "dev.csv"
    path.write_text("text,label\n" + f"{GOOD[0]},1\n\n,0\n{BAD[0]},0\n")
    asked = ["evaluate", "--data", str(path), "--fhe", "disable"]
    refused = CliRunner().invoke(commands, asked)
    assert "'dev.csv', line 4: row 2 has an empty text" in str(refused.exception)
    shown = CliRunner().invoke(commands, [*asked, "--on-error", "skip"])
    assert "left out: row 2 (line 4) has an empty text" in shown.stdout
    shown = CliRunner().invoke(commands, [*asked, "--on-error", "skip", "--json"])
    record = json.loads(shown.stdout.splitlines()[-1])
    assert record["skipped"] == [{"row": 2, "line": 4, "reason": "has an empty text"}]
    assert (record["texts"], record["texts_in_data"]) == (2, 3)


class Failing:
    """A pipeline that cannot serve one of its texts, and says so in its report."""

    call_options = ("on_error",)
    window = None

    def __init__(self, pipe, text):
        self.pipe, self.text = pipe, text

    def __call__(self, inputs, *, on_error="raise", **options):
        if self.text in inputs and on_error == "raise":
            raise InputError("the text cannot be served")
        self.pipe(inputs, **options)
        self.reports = list(self.pipe.reports)
        for place, text in enumerate(inputs):
            if text == self.text:
                self.reports[place] = Failed()


class Failed:
    error, logits = "the text cannot be served", []


def test_texts_that_fail_at_run_time_are_left_out(classifier):
    pipe = Failing(classifier, GOOD[1])
    options = {"fhe": "simulate", "compare": True, "batch_size": None}
    places = [Place(i) for i in (1, 2, 3)]
    found = run_both(pipe, GOOD, places, on_error="skip", **options)
    assert (found.kept, len(found.run.reports), len(found.clear.reports)) == ((0, 2), 2, 2)
    assert str(found.skipped[0]) == "row 2 cannot be classified: the text cannot be served"
    assert all(isinstance(report, Report) for report in found.run.reports)
    for size in (1, 3):  # in the order of the data, whatever the order of the batches
        with pytest.raises(InputError, match="row 2 cannot be classified: the text cannot"):
            run_both(pipe, GOOD, places, on_error="raise", **{**options, "batch_size": size})
    with pytest.raises(InputError, match="row 2 cannot be classified"):
        run_both(pipe, GOOD[1:2], places[1:2], on_error="skip", **options)


def test_a_path_that_is_not_there(classifier, score):
    for ask in (score, evaluate_model):
        with pytest.raises(ConversionError, match=r"'\./none' is not there"):
            ask(classifier, "./none", fhe="disable")


def test_names_beside_class_numbers_count_in_rows_too():
    rows = [
        {"text": "a warm and funny film", "label": 0, "label_text": "POSITIVE"},
        {"text": "a dull mess", "label": 1, "label_text": "NEGATIVE"},
    ]
    config = ThexBertConfig(id2label={0: "NEGATIVE", 1: "POSITIVE"})
    assert read(rows, config, "validation").labels == (1, 0)
