"""One door to converted models: what it opens, and what it refuses."""

import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import BertConfig, PreTrainedTokenizerFast, pipeline
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.errors import ConversionError
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
    ThexBertModel,
)
from thex_hf.modeling.opening import open_model, open_tokenizer

SMALL = {
    "vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 64, "num_labels": 3,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Makes the folder of a small model of a class, with the bundled tokenizer."""

    def make(kind):
        torch.manual_seed(0)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(f"{thex_hf.bundled_checkpoint('the-x')}/{name}", tmp_path)
        kind(ThexBertConfig(**SMALL)).save_pretrained(tmp_path)
        return tmp_path

    return make


@pytest.mark.parametrize(
    "kind", [ThexBertForSequenceClassification, ThexBertForTokenClassification]
)
def test_a_model_is_opened_as_what_it_is(folder, kind):
    model = open_model(folder(kind))
    assert type(model) is kind
    assert not model.training
    assert model.encoder_weights().head == ("tokens" if model.every_token else "cls")


def test_an_encoder_without_a_classifier_is_refused_everywhere(folder):
    place = str(folder(ThexBertModel))
    with pytest.raises(ConversionError, match=r"ThexBertModel.*feature-extraction.*--fine-tune"):
        open_model(place)
    with pytest.raises(ConversionError, match="expected a model for text-classification, got"):
        pipeline("thex-text-classification", model=place)
    for command in (["serve", place], ["estimate", place], ["plot", "cost", place, "--json"]):
        done = CliRunner().invoke(commands, command)
        assert isinstance(done.exception, ConversionError), command


def test_a_tagger_is_no_classifier_of_texts(folder):
    place = str(folder(ThexBertForTokenClassification))
    with pytest.raises(ConversionError, match=r"use pipeline\('thex-token-classification'\)"):
        pipeline("thex-text-classification", model=place)
    done = CliRunner().invoke(commands, ["classify", "hello", "--model", place])
    assert isinstance(done.exception, ConversionError)


def test_a_model_that_was_never_saved_needs_no_architecture(folder):
    config = ThexBertConfig(**SMALL, architectures=["BertForTokenClassification"])
    tokenizer = open_tokenizer(thex_hf.bundled_checkpoint("the-x"), 30522)
    pipe = pipeline(
        "thex-token-classification",
        model=ThexBertForTokenClassification(config).eval(),
        tokenizer=tokenizer,
    )
    assert pipe("hello", fhe="disable")


def test_a_tokenizer_that_knows_no_words_is_refused():
    """What transformers makes where tokenizer.json is missing: each text is a row of [UNK]."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    empty = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", name_or_path="my-model"
    )
    model = open_model(thex_hf.bundled_checkpoint("the-x"))
    with pytest.raises(ConversionError, match=r"'my-model'.*special tokens only"):
        pipeline("thex-text-classification", model=model, tokenizer=empty)


def test_what_is_not_there(tmp_path, folder):
    with pytest.raises(ConversionError, match=r"cannot load '.*nothing'"):
        open_model(tmp_path / "nothing")
    with pytest.raises(ConversionError, match=r"'.*nothing' should hold a tokenizer"):
        open_tokenizer(tmp_path / "nothing", 20)
    place = folder(ThexBertForSequenceClassification)
    with pytest.raises(ConversionError, match="has 30522 tokens and the model has"):
        open_tokenizer(place, 20)
    (place / "tokenizer.json").unlink()
    with pytest.raises(ConversionError, match="should hold a tokenizer"):
        open_tokenizer(place, 30522)
    (place / "config.json").write_text(json.dumps(BertConfig().to_dict()))
    with pytest.raises(ConversionError, match="its model_type is 'bert'"):
        open_model(place)
