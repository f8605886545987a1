import pytest
import torch
from huggingface_hub import constants
from transformers import AutoTokenizer, pipeline

import thex_hf
from thex_hf import ThexBertForSequenceClassification
from thex_hf.errors import ConversionError, OptionError


@pytest.fixture
def texts(data_files, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    return {"train": data_files[0], "dev": data_files[1]}


def test_converted_once_then_found_again(bert_folder, texts, tmp_path):
    settings = {"convert": True, "form": "polynomial", "effort": 0.0, **texts}
    model = ThexBertForSequenceClassification.from_pretrained(bert_folder, **settings)
    assert model.config.form == "polynomial"
    (folder,) = (tmp_path / "cache" / "thex_hf").iterdir()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    again = ThexBertForSequenceClassification.from_pretrained(bert_folder, **settings)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    run = pipeline("thex-text-classification", model=model, tokenizer=tokenizer)
    run("good film", fhe="simulate", agreement=True)
    assert run.report.agreement.same_label


@pytest.mark.slow
def test_a_named_folder_is_used(bert_folder, texts, tmp_path):
    ThexBertForSequenceClassification.from_pretrained(
        bert_folder, convert=True, output=tmp_path / "mine", effort=0.0, **texts
    )
    assert (tmp_path / "mine" / "README.md").is_file()
    assert thex_hf.ThexBertConfig.from_pretrained(tmp_path / "mine").form == "the-x"


def test_errors_say_what_is_missing_or_wrong(bert_folder, texts):
    load = ThexBertForSequenceClassification.from_pretrained
    with pytest.raises(ConversionError, match=r"train=.* and dev="):
        load(bert_folder, convert=True)
    with pytest.raises(OptionError, match="efort"):
        load(bert_folder, convert=True, efort=1.0, **texts)
    with pytest.raises(ConversionError, match="convert=True needs the name"):
        load(None, convert=True, **texts)
