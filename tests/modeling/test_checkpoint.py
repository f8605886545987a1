"""The checkpoints that come with the package: one in THE-X form, one in polynomial form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference import polynomial_logits
from transformers import AutoTokenizer

import thex_hf.modeling
from thex_hf.modeling import ThexBertForSequenceClassification

CHECKPOINTS = Path(thex_hf.modeling.__file__).parents[1] / "checkpoints"
NAMES = ("thex-tiny-sst2", "thex-tiny-sst2-poly")


@pytest.fixture(scope="module", params=NAMES)
def folder(request):
    return CHECKPOINTS / request.param


@pytest.fixture(scope="module")
def model(folder):
    return ThexBertForSequenceClassification.from_pretrained(folder).eval()


def test_it_is_small_and_holds_no_pickle(folder):
    files = list(folder.iterdir())
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".txt"}


def test_it_is_fully_converted_and_calibrated(model):
    assert model.config.fully_converted
    assert model.dtype == torch.float32
    for entry in model.config.ranges:
        assert entry["scores"] < 10
        assert max(entry["stream_in"], entry["attention_out"], entry["layer_out"]) < 32
        assert entry["ffn_pre"] < 32
    for layer in model.encoder_weights().layers:
        assert np.abs(layer.attention_scale).min() > 0.0499


def test_they_are_of_both_forms():
    load = ThexBertForSequenceClassification.config_class.from_pretrained
    the_x, polynomial = (load(CHECKPOINTS / name) for name in NAMES)
    assert (the_x.form, polynomial.form) == ("the-x", "polynomial")
    assert the_x.softmax == "estimate"
    assert the_x.reciprocal is not None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("a charming and often affecting journey", "POSITIVE"),
        ("one of the best films of the year , wonderful and moving .", "POSITIVE"),
        ("a dull , lifeless and boring mess .", "NEGATIVE"),
        ("the worst film i have seen this year", "NEGATIVE"),
    ],
)
def test_it_tells_plain_praise_from_plain_blame(model, folder, text, label):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
    assert model.config.id2label[int(logits.argmax())] == label


def test_its_result_does_not_depend_on_padding(model, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "unflinchingly bleak and desperate"
    alone = model(**tokenizer(text, return_tensors="pt")).logits
    padded = tokenizer(text, return_tensors="pt", padding="max_length", max_length=64)
    torch.testing.assert_close(model(**padded).logits, alone, rtol=1e-4, atol=1e-4)


def test_its_card_says_what_is_protected(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    for words in ("pipeline_tag: text-classification", "library_name: thex_hf", "ckks"):
        assert words in card
    wanted = "the weights are not shown" if folder.name.endswith("poly") else "the model is not"
    assert wanted in card
    assert f'"{folder.name}"' in card


def test_the_polynomial_one_equals_its_formulas_and_its_weights_are_moderate():
    folder = CHECKPOINTS / NAMES[1]
    model = ThexBertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("a dull , lifeless and boring mess .", return_tensors="pt")
    traces = []
    stream = model.embed(ids["input_ids"])[0].detach().numpy()
    expected = polynomial_logits(model.encoder_weights(), stream, traces=traces)
    np.testing.assert_allclose(model(**ids).logits[0].detach(), expected, atol=1e-5)
    for trace in traces:
        sums = trace["attention"].sum(-1)
        assert 0.3 < sums.min() < sums.max() < 3
