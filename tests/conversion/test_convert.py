import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from thex_hf.conversion import (
    ConversionOptions,
    ConversionReport,
    FitOptions,
    TheXOptions,
    convert,
)
from thex_hf.conversion.data.reading import read_texts
from thex_hf.conversion.scores import score
from thex_hf.conversion.training.batches import encode
from thex_hf.errors import ConversionError, OptionError
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS
from thex_hf.modeling.export import weights_digest

STAGES = ["unconverted", "bounded", "relu", "relu_softmax", "affine", "layer_wise", "converted"]


@pytest.fixture(scope="module")
def files(data_files):
    return {"train": data_files[0], "dev": data_files[1]}


def test_conversion_end_to_end(bert_folder, files, quick, tmp_path):
    report = convert(bert_folder, tmp_path / "out", **files, options=quick)
    assert min(report.unconverted, report.converted) > 95
    assert list(report.stages) == STAGES
    assert (report.train_texts, report.metric, report.family) == (400, "accuracy", "bert")
    assert ConversionReport.from_dict(json.loads(json.dumps(report.to_dict()))).drop < 5
    assert not (tmp_path / "out.partial").exists()

    model = ThexBertForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float32
    assert model.config.fully_converted
    assert model.config.softmax == "estimate"
    assert [set(entry) for entry in model.config.ranges] == [set(RANGE_KEYS)] * 2
    assert model.config.calibration["weights"] == weights_digest(model, model.config)
    for layer in model.encoder_weights().layers:
        assert abs(layer.attention_scale).min() >= 0.0499
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    dev = encode(tokenizer, read_texts(files["dev"]), 32)
    assert score(model, dev) == report.converted

    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: thex_hf" in card
    assert f"{report.converted:.2f}" in card
    assert json.loads((tmp_path / "out" / "conversion.json").read_text()) == report.to_dict()


@pytest.mark.slow
def test_same_seed_same_model(bert_folder, files, quick, tmp_path):
    short = replace(quick, fine_tuning=replace(quick.fine_tuning, epochs=1.0))
    for name in ("a", "b"):
        convert(bert_folder, tmp_path / name, **files, options=short)
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_same_seed_same_fresh_classifier(bert_folder, files, quick, fitted_only, tmp_path):
    encoder = BertForSequenceClassification.from_pretrained(bert_folder).bert
    encoder.save_pretrained(tmp_path / "source")
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path / "source")
    tuned = replace(quick.fine_tuning, epochs=0.2)
    for name in ("a", "b"):
        torch.rand(3)
        options = replace(fitted_only, fine_tuning=tuned)
        convert(tmp_path / "source", tmp_path / name, **files, options=options)
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_training_only_least_squares_is_done(bert_folder, files, fitted_only, tmp_path):
    options = replace(fitted_only, half=False)
    report = convert(bert_folder, tmp_path / "out", **files, options=options)
    assert report.stages["affine"] == report.converted
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_divergence_is_an_error_and_nothing_is_saved(bert_folder, files, quick, tmp_path):
    wild = FitOptions(epochs=3.0, learning_rate=1e8, gradient_norm=1e30)
    options = replace(quick, the_x=replace(quick.the_x, relu=wild))
    with pytest.raises(ConversionError, match=r"nothing was saved|not finite"):
        convert(bert_folder, tmp_path / "out", **files, options=options)
    assert not (tmp_path / "out").exists()


def test_output_in_use_is_refused_before_any_work(bert_folder, files, quick, fitted_only, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ConversionError, match="should be empty"):
        convert(bert_folder, tmp_path, **files, options=quick)
    options = replace(fitted_only, overwrite=True)
    convert(bert_folder, tmp_path, **files, options=options)
    assert (tmp_path / "README.md").read_text() == "mine"
    with pytest.raises(ConversionError, match="should be a folder"):
        convert(bert_folder, tmp_path / "README.md", **files, options=options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
        ({"architectures": ["BertForQuestionAnswering"]}, "BertForQuestionAnswering"),
        ({"hidden_act": "silu"}, "silu"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "is_decoder"),
    ],
)
def test_unsupported_sources(bert_folder, files, tmp_path, change, message):
    source = tmp_path / "source"
    source.mkdir()
    for path in bert_folder.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    config = json.loads((source / "config.json").read_text()) | change
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConversionError, match=f"{message}.*Supported"):
        convert(source, tmp_path / "out", **files)


def test_pickled_source_is_refused(bert_folder, files, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_bytes((bert_folder / "config.json").read_bytes())
    (source / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ConversionError, match="Pickled"):
        convert(source, tmp_path / "out", **files)


def test_missing_source(files, tmp_path):
    with pytest.raises(ConversionError, match="model folder"):
        convert(tmp_path / "none", tmp_path / "out", **files)


def test_regression_and_pairs(bert_folder, quick, tmp_path):
    config = BertConfig.from_pretrained(bert_folder, num_labels=1)
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "source")
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path / "source")
    rows = [(f"{'good ' * n}film", "the plot", n) for n in range(1, 6)] * 8
    lines = ["text_a\ttext_b\tscore", *(f"{a}\t{b}\t{s}" for a, b, s in rows)]
    (tmp_path / "d.tsv").write_text("\n".join(lines))
    path = tmp_path / "d.tsv"
    report = convert(tmp_path / "source", tmp_path / "out", train=path, dev=path, options=quick)
    assert report.metric == "pearson"
    assert report.converted > 80


def test_options_check_their_numbers():
    with pytest.raises(OptionError, match="max_length"):
        ConversionOptions(max_length=0)
    with pytest.raises(OptionError, match="layer_wise"):
        TheXOptions(layer_wise=FitOptions(learning_rate=0.0))
    with pytest.raises(OptionError, match="weight_decays"):
        ConversionOptions(weight_decays=(-1.0,))
