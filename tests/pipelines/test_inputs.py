"""What a pipeline may be given: answered right, or refused by name."""

import datasets
import numpy as np
import pandas as pd
import pytest
from tiny_pipelines import make
from transformers import AutoModelForSequenceClassification, pipeline

import thex_hf
from thex_hf.errors import ConversionError, InputError, OptionError

GOOD, BAD = "a charming film", "a dull mess"
PAIR = {"text": GOOD, "text_pair": BAD}
TABLE = datasets.Dataset.from_dict({"text": [GOOD, BAD], "label": [1, 0]})


@pytest.mark.parametrize(
    "inputs",
    [
        [GOOD, BAD],
        np.array([GOOD, BAD]),
        np.array([GOOD, BAD], dtype=object),
        pd.Series([GOOD, BAD], index=[7, 3]),
        TABLE["text"],
        (text for text in [GOOD, BAD]),
        map(str, [GOOD, BAD]),
    ],
    ids=["list", "array", "objects", "series", "column", "generator", "iterator"],
)
def test_many_kinds_of_several_texts(classifier, inputs):
    rows = list(classifier(inputs, fhe="disable", batch_size=2))
    assert [row["label"] for row in rows] == ["POSITIVE", "NEGATIVE"]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ((GOOD, BAD), "got a tuple; several texts are one flat list"),
        ([(GOOD, BAD)], "text 1: expected a text, got a tuple"),
        ([GOOD, [GOOD, BAD]], "text 2: expected a text, got a list"),
        ([[GOOD, BAD]], "text 1: .*'text_pair'"),
        ({"text": GOOD, 1: BAD}, r"got keys \['1', 'text'\]"),
        ({"text": GOOD, "text_pair": ""}, "empty"),
        ([PAIR, {"text": GOOD, "text_pair": 3}], "text 2: expected a second text .str., got int"),
        (pd.Series([GOOD, float("nan")]), "text 2: expected a text .str., got float"),
        (pd.DataFrame({"text": [GOOD]}), "got DataFrame; give one column"),
        (TABLE, "got Dataset; give one column"),
        ({GOOD}, "got set"),
        (b"bytes", "got bytes"),
        (None, "got NoneType"),
        ("half \udc80", "half of a surrogate pair .* at character 6"),
        ([np.array([GOOD])], "text 1: expected a text .str., got ndarray"),
    ],
    ids=str,
)
def test_the_rest_is_refused(classifier, inputs, reason):
    with pytest.raises(InputError, match=reason):
        classifier(inputs, fhe="disable")


def test_the_old_form_of_pairs(classifier):
    old = classifier([[[GOOD, BAD]]], fhe="disable")
    assert old == [classifier(PAIR, fhe="disable")]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"function_to_apply": "foo"}, "one of sigmoid, softmax, none"),
        ({"function_to_apply": "sofmax"}, "did you mean 'softmax'"),
        ({"function_to_apply": 3}, "function_to_apply must be one of"),
        ({"top_k": 0}, "top_k must be a whole number"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": "3"}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"num_workers": 2}, "tokenised in this process"),
        ({"truncation": "only_frist"}, "did you mean 'only_first'"),
        ({"truncation": 1}, "truncation must be True, False or one of"),
        ({"padding": "longst"}, "did you mean 'longest'"),
        ({"max_length": 500, "truncation": True}, "128 at most"),
        ({"add_special_tokens": "no"}, "True or False"),
        ({"agreement": "no"}, "True or False"),
        ({"agreement": True, "fhe": "disable"}, "what fhe='disable' runs"),
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(classifier, options, reason):
    with pytest.raises(OptionError, match=reason):
        classifier(GOOD, **{"fhe": "simulate", **options})


def test_a_way_to_cut_that_does_not_fit_the_text(classifier):
    with pytest.raises(InputError, match=r"text 1: .*there is none"):
        classifier([GOOD, "word " * 200], fhe="disable", truncation="only_second")
    pair = {"text": GOOD, "text_pair": "word " * 200}
    assert classifier(pair, fhe="disable", truncation="only_second")["label"]
    assert classifier.report.tokens == 128


def test_padding_changes_nothing(classifier, monkeypatch):
    alone = classifier(GOOD, fhe="simulate")
    for side in ("left", "right"):
        monkeypatch.setattr(classifier.tokenizer, "padding_side", side)
        padded = classifier(GOOD, fhe="simulate", padding="max_length", max_length=64)
        assert padded[0]["score"] == pytest.approx(alone[0]["score"], abs=1e-4)
        assert classifier.report.bucket == 16
        together = classifier([GOOD, GOOD * 3], fhe="disable", batch_size=2, padding=True)
        assert together[0]["score"] == pytest.approx(alone[0]["score"], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ring": 1000}, "ring is for refresh and one-shot"),
        ({"ring": 8192}, "ring is for refresh and one-shot"),
        ({"protocol": "refresh", "ring": 1000}, "one of 8192, 16384, 32768, got 1000"),
        ({"protocol": "one-shot", "ring": "16384"}, "got '16384'"),
        ({"protocol": "refresh", "softmax": "exact"}, "option of client-aided"),
        ({"flood": "strong"}, "flood is for refresh and one-shot"),
        ({"protocol": "refresh", "flood": "stong"}, "did you mean 'strong'"),
        ({"backend": "concrete", "ring": 8192}, "no ring"),
        ({"backend": "concrete", "processes": 2}, "processes of its own"),
        ({"backend": "concrete", "keys": "k"}, "keeps none"),
        ({"backend": "clear", "keys": "k"}, "makes no keys"),
        ({"processes": 0}, "whole number"),
        ({"processes": "2"}, "whole number"),
        ({"keys": ""}, "keys is empty"),
        ({"relu": "server"}, "backend 'concrete' has"),
        ({"url": "http://localhost:1"}, "goes with backend='remote'"),
        ({"server_token": "x"}, "goes with backend='remote'"),
        ({"batch_size": 0}, "batch_size"),
        ({"num_workers": 1}, "num_workers=1"),
        ({"top_k": 0}, "top_k"),
        ({"device": 99}, "device asked for cannot be used"),
        ({"device": "meta"}, "device asked for cannot be used"),
        ({"device": "gpu"}, "device asked for cannot be used"),
    ],
    ids=str,
)
def test_options_of_the_constructor(classifier, options, reason):
    form = "polynomial" if options.get("protocol") in ("refresh", "one-shot") else "the-x"
    model = (
        classifier.model
        if form == "the-x"
        else thex_hf.ThexBertForSequenceClassification.from_pretrained(
            thex_hf.bundled_checkpoint(form)
        )
    )
    with pytest.raises(OptionError, match=reason):
        pipeline("thex-text-classification", model=model, tokenizer=classifier.tokenizer, **options)


def test_a_device_map_places_the_clear_model(classifier):
    folder = thex_hf.bundled_checkpoint("the-x")
    want = classifier(GOOD, fhe="disable")[0]["score"]
    loaded = AutoModelForSequenceClassification.from_pretrained(folder, device_map={"": "cpu"})
    for given in (
        {"model": folder, "device_map": "cpu"},
        {"model": loaded, "tokenizer": classifier.tokenizer},
    ):
        pipe = pipeline("thex-text-classification", **given)
        assert pipe(GOOD, fhe="disable")[0]["score"] == pytest.approx(want, abs=1e-6)
        assert pipe(GOOD, fhe="simulate", agreement=True)[0]["label"] == "POSITIVE"
        assert pipe.report.agreement.largest_logit_difference < 1e-3


def test_weights_that_a_device_map_left_on_disk_are_not_read():
    here, there = ("thex_bert.embeddings", "thex_bert.layers.0", "classifier"), "thex_bert.layers.1"
    places = {**dict.fromkeys(here, "cpu"), there: "disk"}
    pipe = pipeline(
        "thex-text-classification", model=thex_hf.bundled_checkpoint("the-x"), device_map=places
    )
    assert pipe(GOOD, fhe="disable")[0]["label"] == "POSITIVE"
    with pytest.raises(ConversionError, match=r"no values in memory for .*meta device"):
        pipe(GOOD, fhe="simulate")


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tiny = make()
    pipe = pipeline(
        "thex-text-classification", model=tiny.model, tokenizer=tiny.tokenizer, keys="~/keys"
    )
    pipe(GOOD)
    assert len(list((tmp_path / "home" / "keys").glob("pair.*/*.key"))) == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []
    pipe.save_pretrained("~/model")
    assert (tmp_path / "home" / "model" / "config.json").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_forward_by_hand_runs_the_circuit(classifier):
    row = classifier.preprocess(GOOD)
    out = classifier.postprocess(classifier.forward(row, fhe="simulate"))
    assert out["label"] == "POSITIVE"
    assert classifier.report.fhe == "simulate"
    several = classifier.tokenizer([GOOD, GOOD], return_tensors="pt")
    with pytest.raises(InputError, match="one tokenised text, got 2"):
        classifier.forward(several, fhe="simulate")
