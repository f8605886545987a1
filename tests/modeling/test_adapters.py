"""Adapters of peft are merged into what is encrypted, or refused; none is left out."""

import json
import shutil
import sys

import pytest
import torch
from source_models import make_tokenizer
from torch import nn
from transformers import AutoModelForSequenceClassification, pipeline

import thex_hf
from thex_hf.errors import ConversionError
from thex_hf.modeling.calibrate import calibrate_on
from thex_hf.modeling.opening import open_model

peft = pytest.importorskip("peft")
TARGETS = ["query", "value", "up", "word_embeddings"]


@pytest.fixture
def adapted(make_model, batch):
    """A calibrated model inside a PeftModel whose adapter has learned something."""

    def make(**options):
        model = make_model(vocab_size=24)
        calibrate_on(model, [batch])
        own = {"task_type": "SEQ_CLS", "r": 4, "target_modules": TARGETS, **options}
        found = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **own)).eval()
        with torch.no_grad():
            nn.init.normal_(model.classifier.modules_to_save["default"].weight)
        return found

    return make


@pytest.mark.parametrize(
    "options", [{}, {"use_dora": True}, {"use_rslora": True, "lora_alpha": 3}], ids=str
)
def test_an_adapter_is_merged_for_the_encrypted_side(adapted, batch, options):
    model = adapted(**options)
    inner = model.get_base_model()
    expected = model(**batch).logits
    with pytest.raises(ConversionError, match="changed since"):
        inner.encoder_weights()
    plain = inner.plain()
    assert type(plain.thex_bert.layers[0].up) is nn.Linear
    torch.testing.assert_close(plain(**batch).logits, expected, rtol=1e-4, atol=1e-5)
    assert type(inner.thex_bert.layers[0].up) is not nn.Linear  # it is still being trained
    torch.testing.assert_close(model(**batch).logits, expected)
    calibrate_on(inner, [batch])
    merged = model.merge_and_unload()
    assert merged.encoder_weights().fingerprint() == inner.encoder_weights().fingerprint()


def test_an_adapter_that_is_switched_off_is_not_merged(adapted, batch):
    model = adapted()
    inner = model.get_base_model()
    mark = inner.encoder_mark()
    with model.disable_adapter():
        assert inner.encoder_mark() != mark
        inner.encoder_weights()  # as calibrated
        torch.testing.assert_close(inner.plain()(**batch).logits, model(**batch).logits)
    assert inner.encoder_mark() == mark


@pytest.mark.parametrize("inside", [False, True])
def test_a_pipeline_takes_the_adapter_or_says_no(adapted, inside):
    tokenizer, model = make_tokenizer(), adapted()
    given = model.get_base_model() if inside else model
    pipe = pipeline("thex-text-classification", model=given, tokenizer=tokenizer)
    with pytest.raises(ConversionError, match="changed since"):
        pipe("good film", fhe="simulate")
    thex_hf.calibrate(given, ["good film", "a dull plot"], tokenizer)
    pipe("good film", fhe="simulate", agreement=True)
    assert pipe.report.agreement.largest_logit_difference < 0.05
    clear = model(**tokenizer("good film", return_tensors="pt")).logits[0]
    assert (clear - torch.tensor(pipe.report.logits)).abs().max() < 0.05


def test_an_adapter_in_front_of_the_text_is_refused(make_model):
    config = peft.PromptTuningConfig(
        task_type="SEQ_CLS", num_virtual_tokens=3, num_layers=2, token_dim=32, num_attention_heads=4
    )
    model = peft.get_peft_model(make_model(vocab_size=24), config)
    with pytest.raises(ConversionError, match="merge_and_unload"):
        pipeline("thex-text-classification", model=model, tokenizer=make_tokenizer())


def test_a_model_with_adapters_is_not_saved_as_a_whole_one(adapted, tmp_path):
    inner = adapted().get_base_model()
    with pytest.raises(ConversionError, match="merge_and_unload"):
        inner.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    inner.merge_and_unload().save_pretrained(tmp_path / "model")
    loaded = open_model(tmp_path / "model")
    assert torch.equal(loaded.classifier.weight, inner.merge_and_unload().classifier.weight)


def test_an_adapter_that_transformers_added_is_saved_alone(make_model, batch, tmp_path):
    make_model().save_pretrained(tmp_path / "base")
    model = open_model(tmp_path / "base")
    model.add_adapter(peft.LoraConfig(r=4, target_modules=["query", "up"], init_lora_weights=False))
    model.save_pretrained(tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    expected = model.eval()(**batch).logits
    loaded = open_model(tmp_path / "adapter")
    torch.testing.assert_close(loaded(**batch).logits, expected)
    calibrate_on(loaded, [batch])
    assert loaded.encoder_weights().fingerprint() == (
        _calibrated(model, batch).encoder_weights().fingerprint()
    )
    merged = loaded.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(open_model(tmp_path / "merged")(**batch).logits, expected)


def _calibrated(model, batch):
    calibrate_on(model, [batch])
    return model


@pytest.mark.parametrize("beside", [False, True])
def test_an_adapters_folder_is_loaded_with_it(adapted, batch, tmp_path, beside):
    model = adapted()
    expected = model(**batch).logits
    base, folder = tmp_path / "base", tmp_path / "adapter"
    with model.disable_adapter():
        model.get_base_model().merge_and_unload().save_pretrained(base)
    model.save_pretrained(folder)
    path = folder / "adapter_config.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "base_model_name_or_path": str(base)}))
    if beside:
        shutil.copytree(base, folder, dirs_exist_ok=True)
    for loaded in (open_model(folder), AutoModelForSequenceClassification.from_pretrained(folder)):
        torch.testing.assert_close(loaded.eval()(**batch).logits, expected)
        with pytest.raises(ConversionError, match="changed since"):
            loaded.encoder_weights()


def test_without_peft_an_adapter_is_no_silent_loss(make_model, tmp_path, monkeypatch):
    make_model().save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tmp_path), "peft_type": "LORA"})
    )
    for name, module in list(sys.modules.items()):
        if name.startswith("transformers") and hasattr(module, "is_peft_available"):
            monkeypatch.setattr(module, "is_peft_available", lambda: False)
    with pytest.raises(ConversionError, match=r"holds an adapter.*pip install peft"):
        open_model(tmp_path)
