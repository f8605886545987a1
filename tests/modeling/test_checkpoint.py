"""The checkpoint that comes with the package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import thex_hf.modeling
from thex_hf.modeling import ThexBertForSequenceClassification

FOLDER = Path(thex_hf.modeling.__file__).parents[1] / "checkpoints" / "thex-tiny-sst2"


@pytest.fixture(scope="module")
def model():
    return ThexBertForSequenceClassification.from_pretrained(FOLDER).eval()


def test_it_is_small_and_holds_no_pickle():
    files = list(FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".txt"}


def test_it_is_fully_converted_and_calibrated(model):
    assert model.config.fully_converted
    assert model.config.softmax == "estimate"
    assert model.config.reciprocal is not None
    assert model.dtype == torch.float32
    for entry in model.config.ranges:
        assert entry["scores"] < 10
        assert max(entry["stream_in"], entry["attention_out"], entry["layer_out"]) < 30
    for layer in model.encoder_weights().layers:
        assert np.abs(layer.attention_scale).min() > 0.0499


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("a charming and often affecting journey", "POSITIVE"),
        ("one of the best films of the year , wonderful and moving .", "POSITIVE"),
        ("a dull , lifeless and boring mess .", "NEGATIVE"),
        ("the worst film i have seen this year", "NEGATIVE"),
    ],
)
def test_it_tells_plain_praise_from_plain_blame(model, text, label):
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
    assert model.config.id2label[int(logits.argmax())] == label


def test_its_result_does_not_depend_on_padding(model):
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    text = "unflinchingly bleak and desperate"
    alone = model(**tokenizer(text, return_tensors="pt")).logits
    padded = tokenizer(text, return_tensors="pt", padding="max_length", max_length=64)
    torch.testing.assert_close(model(**padded).logits, alone, rtol=1e-4, atol=1e-4)


def test_its_card_says_what_is_protected():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for words in ("pipeline_tag: text-classification", "library_name: thex_hf", "ckks"):
        assert words in card
    assert "the model is not" in card
