"""``evaluate_model``: data of all sorts, modes, and what is said of the figures."""

from __future__ import annotations

import gzip
import json

import pytest

from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.errors import ConversionError, InputError, OptionError
from thex_hf.evaluation import evaluate_model
from thex_hf.evaluation.reading import share_interval, spread
from thex_hf.evaluation.runs import classify

GOOD = ["a warm and funny film", "lovely , moving and beautifully acted", "great fun"]
BAD = ["a dull mess", "unflinchingly bleak and desperate", "boring and far too long , sadly"]
LONG = " ".join(["word"] * 200)


def rows(labels):
    return [{"text": t, "label": x} for t, x in zip(GOOD + BAD, labels, strict=True)]


def test_modes(classifier, sentences):
    clear = evaluate_model(classifier, sentences, fhe="disable")
    assert clear.metrics == {"accuracy": 1.0}
    assert (clear.agreement, clear.clear_metrics, clear.max_logit_difference) == (None, None, None)
    found = evaluate_model(classifier, sentences, fhe="simulate", limit=4)
    assert (found.texts, found.texts_in_data) == (4, 6)
    assert found.metrics == found.clear_metrics == {"accuracy": 1.0}
    assert found.agreement == 1.0
    assert 0 < found.max_logit_difference < 1e-3
    assert set(found.intervals) == {"accuracy", "agreement"}
    assert found.costs["buckets"] == {"16": 4}
    plain = evaluate_model(classifier, sentences, fhe="simulate", limit=1, compare=False)
    assert plain.agreement is None


def test_ciphertexts(tiny, sentences):
    found = evaluate_model(tiny(), sentences, fhe="execute", limit=2)
    assert (found.costs["fhe"], found.costs["backend"], found.agreement) == ("execute", "seal", 1.0)
    assert 0 < found.max_logit_difference < 1e-2
    assert found.costs["bytes"]["keys"] > 1e6
    once = found.costs["seconds"]["keygen"] + found.costs["seconds"]["prepare"]
    assert 0 < once < found.speed["total_time_in_seconds"]


def test_json(classifier, sentences):
    found = evaluate_model(classifier, sentences, fhe="disable", metrics=["mrpc", "accuracy"])
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["metrics"] == {"accuracy": 1.0, "f1": 1.0}
    assert record["samples_per_second"] * record["total_time_in_seconds"] == pytest.approx(6)
    assert record["machine"]["packages"]["torch"]
    assert record["thex"]["texts"] == record["texts"] == 6


@pytest.mark.parametrize("kind", ["gz", "jsonl", "csv", "rows", "read"])
def test_data(classifier, sentences, kind, tmp_path):
    labels = [1, 1, 1, 0, 0, 1]  # the last is wrong on purpose
    data = rows(labels)
    if kind == "gz":
        data = tmp_path / "x.tsv.gz"
        lines = ["label\tsentence", *(f"{r['label']}\t{r['text']}" for r in rows(labels))]
        data.write_bytes(gzip.compress("\n".join(lines).encode()))
    elif kind == "jsonl":
        data = str(tmp_path / "x.jsonl")
        named = [{**r, "label": ["NEGATIVE", "POSITIVE"][r["label"]]} for r in rows(labels)]
        (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, named)))
    elif kind == "csv":
        data = tmp_path / "x.csv"
        data.write_text(
            "text,label\n" + "".join(f'"{r["text"]}",{r["label"]}\n' for r in data_rows())
        )
    elif kind == "read":
        data = read_texts(sentences)
    found = evaluate_model(classifier, data, fhe="disable")
    assert found.metrics["accuracy"] == pytest.approx(1.0 if kind == "read" else 5 / 6)


def data_rows():
    return rows([1, 1, 1, 0, 0, 1])


def test_answers_come_back_in_the_order_of_the_texts(classifier):
    texts = [BAD[2], GOOD[2], BAD[0], GOOD[1]]  # of different lengths
    one = classify(classifier, texts, fhe="disable", batch_size=1)
    many = classify(classifier, texts, fhe="disable", batch_size=3)
    assert many.logits == [pytest.approx(row, abs=1e-5) for row in one.logits]
    assert [row[1] > row[0] for row in one.logits] == [False, True, False, True]


def test_limit_is_spread_evenly(sentences):
    texts = read_texts(sentences)
    assert spread(texts, 3).texts == (GOOD[0], GOOD[2], BAD[1])
    assert spread(texts, 3).labels == (1, 1, 0)
    assert spread(texts, 99) == spread(texts, None) == texts
    with pytest.raises(OptionError, match="limit"):
        spread(texts, 0)


def test_long_texts_are_cut_and_counted(classifier):
    data = [{"text": LONG, "label": 0}, {"text": "good", "label": 1}]
    found = evaluate_model(classifier, data, fhe="disable")
    assert (found.texts, found.cut, found.costs["buckets"]) == (2, 1, {"16": 1, "128": 1})


def test_regression_and_pairs(regressor):
    pairs = [{"text": a, "text_pair": b} for a, b in zip(GOOD, BAD, strict=True)]
    regressor(pairs, fhe="disable")
    own = [r.logits[0] for r in regressor.reports]
    data = [{**pair, "label": -x} for pair, x in zip(pairs, own, strict=True)]
    found = evaluate_model(regressor, data, fhe="simulate")
    assert found.kind == "numbers"
    assert found.metrics == pytest.approx({"pearsonr": -1.0, "spearmanr": -1.0}, abs=1e-3)
    assert found.clear_metrics["pearsonr"] == pytest.approx(-1.0)
    assert found.agreement is None
    assert 0 < found.max_logit_difference < 1e-2
    flat = [{**row, "label": 1.0} for row in data]
    assert evaluate_model(regressor, flat, fhe="disable").to_json()["metrics"]["pearsonr"] is None


def test_any_number_of_classes_a_text(tiny):
    names = {0: "a", 1: "b", 2: "c"}
    pipe = tiny(id2label=names, problem_type="multi_label_classification")
    pipe(GOOD + BAD, fhe="disable")
    said = [[names[i] for i, x in enumerate(r.logits) if x > 0] for r in pipe.reports]
    found = evaluate_model(pipe, rows(said), fhe="disable", metrics=["accuracy", "f1_micro"])
    assert found.kind == "multi"
    assert found.metrics == {"accuracy": 1.0, "f1_micro": 1.0}
    other = [[*own, "a"] if "a" not in own else own[1:] for own in said]
    found = evaluate_model(pipe, rows(other), fhe="disable", metrics=["accuracy"])
    assert found.metrics == {"accuracy": 0.0}


def test_one_class_is_allowed(classifier):
    data = [{"text": text, "label": 1} for text in GOOD]
    found = evaluate_model(classifier, data, fhe="disable", metrics=["accuracy", "f1", "cola"])
    assert found.metrics == {"accuracy": 1.0, "f1": 1.0, "matthews_correlation": 0.0}


def test_an_interval_is_wilsons():
    low, high = share_interval(0.9, 10)
    # centre (p + z^2/2n) / (1 + z^2/n), half width z/(1+z^2/n) sqrt(p(1-p)/n + z^2/4n^2)
    assert (low, high) == (pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))
    assert share_interval(1.0, 50)[1] == pytest.approx(1.0)


def test_class_names_in_another_order(classifier):
    names = ("POSITIVE", "NEGATIVE")
    data = LabelledTexts(tuple(GOOD + BAD), None, (0, 0, 0, 1, 1, 1), names)
    assert evaluate_model(classifier, data, fhe="disable").metrics == {"accuracy": 1.0}
    data = LabelledTexts(tuple(GOOD), None, (0, 1, 2), ("a", "b", "c"))
    with pytest.raises(InputError, match="the data have a, b, c"):
        evaluate_model(classifier, data, fhe="disable")


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("label\ttext\n", "no rows"),
        ("label\twords\n1\tx\n", "column named text"),
        ("text\nx\n", "column named label"),
        ("label\ttext\n5\tx\n", "NEGATIVE, POSITIVE"),
    ],
)
def test_files_that_cannot_be_used(classifier, text, message, tmp_path):
    with pytest.raises(ConversionError, match=message):
        evaluate_model(classifier, write(tmp_path / "x.tsv", text), fhe="disable")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "empty"),
        ([{"text": " ", "label": 1}], "row 1"),
        ([{"text": "x"}], "'label'"),
    ],
)
def test_rows_that_cannot_be_used(classifier, data, message):
    with pytest.raises(InputError, match=message):
        evaluate_model(classifier, data, fhe="disable")


def test_what_does_not_suit_the_model(classifier, regressor, sentences):
    with pytest.raises(OptionError, match="use pearsonr"):
        evaluate_model(regressor, sentences, fhe="disable", metrics=["accuracy"])
    with pytest.raises(InputError, match="the model answers with numbers"):
        evaluate_model(regressor, read_texts(sentences), fhe="disable")
    with pytest.raises(OptionError, match="batch_size"):
        evaluate_model(classifier, sentences, fhe="disable", batch_size=0)
    with pytest.raises(ConversionError, match=r"nowhere\.tsv"):
        evaluate_model(classifier, "nowhere.tsv", fhe="disable")
