"""Every kind of label goes through data, batches, losses, scores and a whole conversion."""

import json
import random
from dataclasses import replace

import pytest
import torch
from conversion_words import BAD, GOOD, OTHER
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from thex_hf import ThexBertForTokenClassification
from thex_hf.conversion import FitOptions, PolynomialOptions, convert
from thex_hf.conversion.data.reading import read_texts
from thex_hf.conversion.scores import score_logits
from thex_hf.conversion.training.batches import collate, encode, hold_out
from thex_hf.errors import ConversionError
from thex_hf.modeling.tasks import IGNORED

FEW = FitOptions(epochs=6.0, learning_rate=1e-3, batch_size=32)
SHORT = PolynomialOptions(
    bounding=FEW, layer_wise=FEW, end_to_end=FEW, steadying=FEW, rounds=1, drawn=256
)


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    draw = random.Random(3)
    rows = []
    for _ in range(200):
        words = [draw.choice(GOOD + BAD + OTHER) for _ in range(draw.randrange(2, 7))]
        tags = ["B-GOOD" if w in GOOD else "B-BAD" if w in BAD else "O" for w in words]
        rows.append({"tokens": words, "tags": tags})
    return lines(tmp_path_factory.mktemp("tags") / "d.jsonl", rows)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    draw = random.Random(4)
    rows = []
    for _ in range(200):
        words = [draw.choice(GOOD[:2] + BAD[:2] + OTHER) for _ in range(4)]
        found = [n for n, group in (("bad", BAD), ("good", GOOD)) if set(words) & set(group)]
        rows.append({"text": " ".join(words), "labels": found})
    return lines(tmp_path_factory.mktemp("multi") / "d.jsonl", rows)


def test_tags_stand_at_the_first_piece_of_each_word(bert_folder, tagged):
    data = read_texts(tagged)
    assert (data.kind, data.label_names) == ("tags", ("B-BAD", "B-GOOD", "O"))
    encoded = encode(AutoTokenizer.from_pretrained(bert_folder), data, 32)
    first = encoded.labels[0].tolist()
    assert first == [IGNORED, *data.labels[0], IGNORED]
    batch = collate(encoded, torch.arange(5))
    assert batch["labels"].shape == batch["input_ids"].shape
    assert set(batch["labels"][batch["attention_mask"] == 0].tolist()) == {IGNORED}


def test_perfect_and_empty_answers_score_100_and_0(bert_folder, tagged, several):
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    for path in (tagged, several):
        data = encode(tokenizer, read_texts(path), 32)
        if data.kind == "tags":
            right = tuple(
                torch.nn.functional.one_hot(t.clamp(min=0), 3).float() for t in data.labels
            )
            outside = torch.tensor([0.0, 0.0, 1.0])
            nothing = tuple(outside.expand(len(t), 3) for t in data.labels)
        else:
            right, nothing = data.labels - 0.5, torch.full_like(data.labels, -1.0)
        assert score_logits(right, data) == 100.0
        assert score_logits(nothing, data) == 0.0


def test_held_out_texts_are_others_than_those_left(bert_folder, several):
    data = encode(AutoTokenizer.from_pretrained(bert_folder), read_texts(several), 32)
    left, held = hold_out(data, 0.1, 1000, 0)
    assert (len(left), len(held)) == (180, 20)
    assert len(left.labels) == 180


@pytest.mark.parametrize("form", ["the-x", pytest.param("polynomial", marks=pytest.mark.slow)])
def test_tokens_are_converted(bert_folder, tagged, quick, tmp_path, form):
    options = replace(quick, form=form, polynomial=SHORT)
    report = convert(bert_folder, tmp_path / "out", train=tagged, dev=tagged, options=options)
    assert (report.metric, report.task) == ("tag-f1", "tokens")
    assert report.unconverted > 95
    assert report.converted > 85
    model = ThexBertForTokenClassification.from_pretrained(tmp_path / "out")
    assert model.encoder_weights().head == "tokens"
    assert model.config.id2label == {0: "B-BAD", 1: "B-GOOD", 2: "O"}


@pytest.mark.slow
def test_several_labels_and_mean_pooling(bert_folder, several, quick, tmp_path):
    encoder = BertForSequenceClassification.from_pretrained(bert_folder).bert
    encoder.save_pretrained(tmp_path / "source")
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path / "source")
    report = convert(
        tmp_path / "source",
        tmp_path / "out",
        train=several,
        dev=several,
        options=quick,
        pooling="mean",
    )
    assert report.metric == "f1"
    assert min(report.unconverted, report.converted) > 90
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pooling"] == "mean"
    assert config["problem_type"] == "multi_label_classification"


@pytest.mark.slow
def test_a_trained_classifier_of_several_labels_is_kept(bert_folder, several, quick, tmp_path):
    config = BertConfig.from_pretrained(
        bert_folder,
        id2label={0: "bad", 1: "good"},
        label2id={"bad": 0, "good": 1},
        problem_type="multi_label_classification",
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "source")
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path / "source")
    none = replace(quick, fine_tuning=FitOptions(epochs=0.0))
    report = convert(
        tmp_path / "source", tmp_path / "out", train=several, dev=several, options=none
    )
    assert report.family == "bert"


def test_data_of_another_kind_are_refused(bert_folder, tagged, data_files, tmp_path):
    with pytest.raises(ConversionError, match=r"labels should be among NEGATIVE|one label"):
        convert(bert_folder, tmp_path / "out", train=tagged, dev=tagged)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "row 1.*2 words and 1 tags"),
        ({"tags": ["O"]}, "tokens or text"),
        ({"tokens": [], "tags": []}, "0 words"),
        ({"tokens": ["a"], "tags": ["O"]}, "two classes"),
        ({"text": "a", "labels": None}, "should all be there"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(ConversionError, match=message):
        read_texts(lines(tmp_path / "d.jsonl", [row]))
