"""Adapters of PEFT: merged into their base model, or refused with what to do."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from source_models import make_source, make_tokenizer, padded_batch, save_source
from transformers import AutoModelForSequenceClassification

from thex_hf.conversion import convert, options_from
from thex_hf.conversion.sources import load_source, start_model
from thex_hf.errors import ConversionError

NAMES = {0: "low", 1: "mid", 2: "high"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def adapt(model, task="SEQ_CLS", **changes):
    """A LoRA on a model, all of its numbers random, and what it answers."""
    peft = pytest.importorskip("peft", reason="adapters are made with peft: pip install peft")
    settings = {"task_type": task, "r": 4, "target_modules": ["query", "value"], **changes}
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **settings))
    wrapped.peft_config["default"].base_model_name_or_path = "base"
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.3)
    return wrapped.eval()


def save(wrapped, folder="adapter"):
    wrapped.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def answers(model):
    ids, mask = padded_batch(make_source("bert"))
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits


def test_an_adapter_is_merged_into_its_base(here):
    base = save_source("base", "bert", id2label=NAMES, label2id={v: k for k, v in NAMES.items()})
    plain = answers(base)
    wrapped = adapt(base)
    save(wrapped)
    found = load_source("adapter")
    assert torch.allclose(answers(found.model), answers(wrapped), atol=1e-5)
    assert not torch.allclose(answers(found.model), plain, atol=0.1)
    assert found.model.config.id2label == NAMES
    start_model(found.model)  # every tensor has its counterpart


def test_the_classifier_of_the_adapter_counts(here):
    save_source("base", "bert", num_labels=2)
    model = make_source("bert", num_labels=4)
    encoder = load_file("base/model.safetensors")
    model.load_state_dict({k: v for k, v in encoder.items() if "classifier" not in k}, strict=False)
    wrapped = adapt(model)
    save(wrapped)
    found = load_source("adapter")
    assert torch.allclose(answers(found.model), answers(wrapped), atol=1e-5)
    assert found.model.config.id2label == {i: f"LABEL_{i}" for i in range(4)}


def test_a_whole_conversion_starts_from_an_adapter(here):
    base = save_source("base", "bert", num_labels=2)
    Path("base/README.md").write_text("---\nlicense: mit\n---\n")
    save(adapt(base))  # peft writes a card that names the folder of the base model
    rows = [f"{word} film\t{label}" for word, label in (("good", 1), ("bad", 0)) * 10]
    Path("t.tsv").write_text("\n".join(["text\tlabel", *rows]))
    files = {"train": "t.tsv", "dev": "t.tsv", "options": options_from(effort=0.0)}
    report = convert("adapter", "out", **files)
    assert (report.source, report.card) == ("adapter", {"license": "mit"})
    assert str(here) not in Path("out/README.md").read_text()
    words = load_file("out/model.safetensors")["thex_bert.layers.0.attention.query.weight"]
    merged = load_source("adapter").model.bert.encoder.layer[0].attention.self.query.weight
    assert torch.allclose(words.float(), merged, atol=2e-3)
    options = options_from(effort=0.0, overwrite=True)
    with pytest.raises(ConversionError, match="is the base model of the source"):
        convert("adapter", "base", **{**files, "options": options})


def test_unmerged_layers_cannot_be_started_from(here):
    wrapped = adapt(make_source("bert"))
    with pytest.raises(ConversionError, match=r"merge_and_unload\(\)"):
        start_model(wrapped.base_model.model)
    with pytest.raises(ConversionError, match=r"PeftModel.*merge_and_unload\(\)"):
        convert(wrapped, "out", train="t.tsv", dev="t.tsv")


def test_a_base_that_is_not_here_is_named(here):
    save(adapt(save_source("base", "bert")))
    shutil.rmtree("base")
    change("base_model_name_or_path", "./gone")
    with pytest.raises(ConversionError, match=r"no model folder './gone'.*merge_and_unload\(\)"):
        load_source("adapter")


def test_an_adapter_of_another_model_is_refused(here):
    save(adapt(save_source("base", "bert")))
    save_source("other", "bert", num_hidden_layers=1)
    change("base_model_name_or_path", "other")
    with pytest.raises(ConversionError, match=r"cannot be merged into 'other'.*merge_and_unload"):
        load_source("adapter")


def test_values_that_are_not_finite_are_refused(here):
    save(adapt(save_source("base", "bert")))
    path = Path("adapter/adapter_model.safetensors")
    tensors = load_file(path)
    next(iter(tensors.values())).fill_(float("nan"))
    save_file(tensors, path)
    with pytest.raises(ConversionError, match="adapter"):
        load_source("adapter")


def change(field, value):
    path = Path("adapter/adapter_config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))


def write_adapter(**fields):
    """Files of an adapter made by hand, for what needs no peft."""
    Path("adapter").mkdir()
    Path("adapter/adapter_config.json").write_text(json.dumps(fields))
    save_file({"base_model.model.x": torch.ones(1)}, "adapter/adapter_model.safetensors")


def test_without_peft_the_way_out_is_named(here, monkeypatch):
    save_source("base", "bert")
    write_adapter(base_model_name_or_path="base", task_type="SEQ_CLS")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConversionError, match=r"pip install peft.*merge_and_unload\(\)"):
        load_source("adapter")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "does not name its base model"),
        ({"base_model_name_or_path": ""}, "does not name its base model"),
        ({"base_model_name_or_path": "b", "megatron_config": {"a": 1}}, "Megatron"),
        ({"base_model_name_or_path": "enc"}, "without a classifier"),
        ({"base_model_name_or_path": "enc", "task_type": "SEQ_CLS"}, "missing: .*classifier"),
    ],
)
def test_what_an_adapter_should_say(here, fields, message):
    save_source("enc", "bert", "Model")
    write_adapter(**fields)
    with pytest.raises(ConversionError, match=message):
        load_source("adapter")


def test_pickled_adapters_are_never_read(here):
    write_adapter(base_model_name_or_path="base")
    Path("adapter/adapter_model.safetensors").rename("adapter/adapter_model.bin")
    with pytest.raises(ConversionError, match="Pickled weights are never read"):
        load_source("adapter")


def test_a_model_and_an_adapter_in_one_folder(here):
    save_source("adapter", "bert")
    Path("adapter/adapter_config.json").write_text("{}")
    with pytest.raises(ConversionError, match=r"which of them is meant\?.*merge_and_unload"):
        load_source("adapter")


def test_classifiers_of_tokens_are_merged_too(here):
    base = save_source("base", "bert", "ForTokenClassification")
    wrapped = adapt(base, task="TOKEN_CLS")
    save(wrapped)
    found = load_source("adapter")
    assert found.task == "tokens"
    assert torch.allclose(answers(found.model), answers(wrapped), atol=1e-5)
    with pytest.raises(ConversionError, match="task should be 'tokens'"):
        load_source("adapter", task="sequence")


def test_an_adapter_that_transformers_saved(here):
    peft = pytest.importorskip("peft", reason="adapters are made with peft: pip install peft")
    save_source("base", "bert")
    model = AutoModelForSequenceClassification.from_pretrained("base")
    settings = peft.LoraConfig(r=4, target_modules=["query"], init_lora_weights=False)
    model.add_adapter(settings)
    model.save_pretrained("adapter")
    found = load_source("adapter")  # tokenizer and classifier are the base model's
    assert torch.allclose(answers(found.model), answers(model.eval()), atol=1e-5)
