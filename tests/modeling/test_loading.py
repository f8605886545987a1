import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
)

from thex_hf.errors import ConversionError
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertModel,
    register_auto_classes,
)


@pytest.fixture
def saved(make_model, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path / "m")
    return model, tmp_path / "m"


def test_auto_classes_reload_the_same_model(saved, batch):
    model, folder = saved
    register_auto_classes()
    register_auto_classes()
    assert isinstance(AutoConfig.from_pretrained(folder), ThexBertConfig)
    again = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert isinstance(again, ThexBertForSequenceClassification)
    torch.testing.assert_close(again(**batch).logits, model(**batch).logits)
    encoder = AutoModel.from_pretrained(folder).eval()
    assert isinstance(encoder, ThexBertModel)
    torch.testing.assert_close(
        encoder(**batch).last_hidden_state, model.thex_bert(**batch).last_hidden_state
    )


@pytest.mark.slow
def test_without_import_the_checkpoint_fails_to_load(saved):
    code = (
        "import sys; from transformers import AutoModelForSequenceClassification as A\n"
        "try: A.from_pretrained(sys.argv[1])\n"
        "except ValueError as e: assert 'thex_bert' in str(e), e; print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved[1])], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "refused", done.stderr


@pytest.fixture
def plain_bert(tmp_path):
    config = BertConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.mark.parametrize("cls", [ThexBertForSequenceClassification, ThexBertModel, ThexBertConfig])
def test_plain_bert_is_refused(plain_bert, cls):
    with pytest.raises(ConversionError, match="thex-hf convert"):
        cls.from_pretrained(plain_bert)


def test_pickled_weights_are_refused(saved):
    _, folder = saved
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ConversionError, match="Pickled"):
        ThexBertForSequenceClassification.from_pretrained(folder)
    with pytest.raises(ConversionError, match="safetensors only"):
        ThexBertForSequenceClassification.from_pretrained(folder, use_safetensors=False)


def test_no_biases_and_no_reciprocal_in_the_file(saved):
    with safe_open(saved[1] / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "thex_bert.layers.0.attention.query.bias" in names
    assert "thex_bert.layers.0.attention.key.bias" not in names
    assert "thex_bert.layers.0.attention.value.bias" not in names
    assert not [name for name in names if "softmax" in name or "pooler" in name]


def test_another_reciprocal_network_is_refused(make_model):
    with pytest.raises(ConversionError, match="reciprocal network"):
        make_model(reciprocal="0" * 16)
    make_model(reciprocal="0" * 16, softmax="exact")
