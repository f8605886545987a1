"""A checkpoint with other weights than its configuration's is refused, not filled up at random."""

import pytest
from safetensors.torch import load_file, save_file
from source_models import make_tokenizer
from transformers import pipeline

from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertForSequenceClassification, ThexBertModel
from thex_hf.modeling.opening import open_model


def rename(state):
    return {name.replace("up.weight", "up.base_layer.weight"): own for name, own in state.items()}


def lose(state):
    return {name: own for name, own in state.items() if "layers.1.down" not in name}


def add(state):
    return {**state, "thex_bert.layers.0.attention.value.bias": state["classifier.bias"].clone()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rename, r"lacks 2, such as thex_bert.layers.0.up.weight; it has more .* 2, such as"),
        (lose, r"lacks 2, such as thex_bert.layers.1.down.bias\. What is missing"),
        (add, r"more than its model reads: 1, such as thex_bert.layers.0.attention.value.bias"),
    ],
)
def test_weights_of_another_model_are_refused(make_model, tmp_path, change, words):
    make_model(vocab_size=24).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    with pytest.raises(ConversionError, match=words):
        open_model(tmp_path)
    with pytest.raises(ConversionError, match=words):
        pipeline("thex-text-classification", model=str(tmp_path))
    loaded = ThexBertForSequenceClassification.from_pretrained(tmp_path)
    with pytest.raises(ConversionError, match=words):
        loaded.encoder_weights()


def test_a_fresh_classifier_on_an_encoder_may_be_trained(make_model, tmp_path):
    ThexBertModel(make_model().config).save_pretrained(tmp_path)
    model = ThexBertForSequenceClassification.from_pretrained(tmp_path)
    model.encoder_weights()
    found, report = ThexBertForSequenceClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert sorted(report["missing_keys"]) == ["classifier.bias", "classifier.weight"]
    assert found.misfit is None
