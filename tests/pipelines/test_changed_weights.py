"""A model that changes between two calls: encrypted answers follow it, or are refused."""

import pytest
import torch
from transformers import AutoTokenizer, pipeline
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.endpoint.spec import spec_of
from thex_hf.errors import ConversionError, OptionError
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.opening import open_model

TEXTS = ["a warm and funny film", "dull", "an hour too long , but never boring", "good"]


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())


def calibrated(form, tokenizer):
    model = open_model(thex_hf.bundled_checkpoint(form))
    thex_hf.calibrate(model, TEXTS, tokenizer)
    return model


def turn(model):
    """Exchange the two answers."""
    with torch.no_grad():
        model.classifier.weight.mul_(-1)
        model.classifier.bias.mul_(-1)


@pytest.mark.parametrize(
    "protocol",
    [
        "client-aided",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("refresh", "one-shot")),
    ],
)
def test_changed_weights_are_refused_until_calibrated(tokenizer, protocol):
    form = "the-x" if protocol == "client-aided" else "polynomial"
    model = calibrated(form, tokenizer)
    pipe = pipeline("thex-text-classification", model=model, tokenizer=tokenizer, protocol=protocol)
    before = pipe(TEXTS[1], fhe="simulate")[0]["label"]
    turn(model)
    clear = pipe(TEXTS[1], fhe="disable")[0]["label"]
    assert clear != before
    for mode in ("simulate", "execute"):
        with pytest.raises(ConversionError, match=r"changed since.*thex_hf.calibrate\("):
            pipe(TEXTS[1], fhe=mode)
    with pytest.raises(ConversionError, match="changed since"):
        pipe.plan(16)
    thex_hf.calibrate(model, TEXTS, tokenizer)
    assert pipe(TEXTS[1], fhe="simulate")[0]["label"] == clear


def test_a_model_without_a_record_is_encoded_anew(tokenizer):
    model = calibrated("the-x", tokenizer)
    model.config.calibration = None
    pipe = pipeline("thex-text-classification", model=model, tokenizer=tokenizer)
    before = pipe(TEXTS[1], fhe="simulate")[0]["label"]
    turn(model)
    assert pipe(TEXTS[1], fhe="simulate")[0]["label"] != before
    session = pipe.runner.session("simulate")
    assert pipe.runner.session("simulate") is session  # once, not for each text


@pytest.mark.slow
def test_other_doors_are_the_same_door(tokenizer, tmp_path):
    model = calibrated("the-x", tokenizer)
    turn(model)
    with pytest.raises(ConversionError, match="changed since"):
        spec_of(model, str(tmp_path / "keys"))
    folder = str(tmp_path / "model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for arguments in (
        ("estimate", folder, "--tokens", "16"),
        ("card", folder),
        ("serve", folder, "--port", "0"),
        ("client-half", folder, str(tmp_path / "half")),
        ("plot", "levels", folder, "--json"),
    ):
        result = CliRunner().invoke(commands, list(arguments))
        assert "changed since" in str(result.exception), arguments
    assert not (tmp_path / "half").exists()


def test_a_trained_bundled_model_is_not_exchanged_for_the_other_form(tokenizer):
    model = open_model(thex_hf.bundled_checkpoint())
    options = {"model": model, "tokenizer": tokenizer, "protocol": "client-aided"}
    assert pipeline("thex-text-classification", **options).model.config.form == "the-x"
    turn(model)
    with pytest.raises(OptionError, match="client-aided"):
        pipeline("thex-text-classification", **options)


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({}, "polynomial"),
        ({"protocol": "one-shot"}, "polynomial"),
        ({"protocol": "prepared"}, "polynomial"),
        ({"protocol": "client-aided"}, "the-x"),
        ({"softmax": "exact"}, "the-x"),
        ({"backend": "clear"}, "polynomial"),
    ],
)
def test_with_no_model_named_both_sides_are_protected_unless_options_say_otherwise(options, form):
    assert pipeline("thex-text-classification", **options).model.config.form == form


def test_a_bundled_model_that_was_chosen_is_not_exchanged(tokenizer):
    model = open_model(thex_hf.bundled_checkpoint("the-x"))
    with pytest.raises(OptionError, match="refresh"):
        pipeline("thex-text-classification", model=model, tokenizer=tokenizer, protocol="refresh")


@pytest.mark.slow
def test_a_model_in_training_mode_answers_without_dropout(tokenizer):
    model = calibrated("the-x", tokenizer).train()
    pipe = pipeline("thex-text-classification", model=model, tokenizer=tokenizer)
    logits = []
    for fhe in ("simulate", "disable", "simulate"):
        model.train()
        pipe(TEXTS[0], fhe=fhe)
        logits.append(torch.tensor(pipe.report.logits))
    assert (logits[0] - logits[1]).abs().max() < 0.01
    assert (logits[0] - logits[2]).abs().max() < 0.01


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16])
@pytest.mark.parametrize("protocol", ["client-aided", "refresh"])
def test_a_type_that_is_not_computed_in_is_refused(dtype, protocol):
    with pytest.raises(OptionError, match=r"float32; this one has torch\.(bfloat16|float16)"):
        pipeline("thex-text-classification", dtype=dtype, protocol=protocol)


def test_a_half_model_is_refused_whole_or_loaded_as_float32(tokenizer, tmp_path):
    half = ThexBertForSequenceClassification.from_pretrained(
        thex_hf.bundled_checkpoint("the-x"), dtype=torch.float16
    )
    with pytest.raises(OptionError, match=r"model.float\(\)"):
        pipeline("thex-text-classification", model=half, tokenizer=tokenizer)
    half.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    pipe = pipeline("thex-text-classification", model=str(tmp_path))
    assert pipe(TEXTS[0], fhe="disable")[0]["label"] == "POSITIVE"
