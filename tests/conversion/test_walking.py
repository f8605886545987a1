"""Fits go through the layers once, and give what runs of whole models for each layer gave."""

import numpy as np
import pytest
import torch
from source_models import make_tokenizer

from thex_hf.approximations.activation_registry import fit_activation
from thex_hf.approximations.layernorm import fit_affine
from thex_hf.approximations.softmax import exact as softmax
from thex_hf.approximations.softmax import fit_power, power_attention
from thex_hf.conversion import replacements
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.replacements import (
    clamp_scales,
    copy_polynomial,
    fit_least_squares,
    fit_replacements,
)
from thex_hf.conversion.training.batches import encode, sample
from thex_hf.conversion.training.losses import read_rows, run
from thex_hf.conversion.walking import Walk, fit_batches
from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.modeling.layers import ThexBertLayer

WORDS = ("good film", "a fine plot", "dull", "great the film", "bad plot", "the very poor film")


def model_of(layers=3):
    torch.manual_seed(0)
    config = ThexBertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        initializer_range=0.4,
        activation="gelu",
        softmax="exact",
        norm="layernorm",
    )
    return ThexBertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def data():
    texts = LabelledTexts(WORDS * 8, None, (0, 1) * 24, ("x", "y"))
    return encode(make_tokenizer(0), texts, 24)


def values_of(model, batches, number, name):
    """A traced quantity of one layer, by running the whole model."""
    parts = []
    for batch in batches:
        trace = run(model, batch)[0][number]
        parts.append(getattr(trace, name)[read_rows(model, number, batch) == 1].double())
    return torch.cat(parts).numpy()


@torch.no_grad()
def fit_one_by_one(exact, student, data):
    """The fits by their definition: for each layer and place the whole model is run."""
    batches = sample(data, len(data))
    for number, layer in enumerate(student.thex_bert.layers):
        power = layer.attention.softmax
        singles = sample(data, len(data), size=1)
        tables = [run(exact, batch)[0][number].scores[0].double() for batch in singles]
        counts = [int(batch["attention_mask"].sum()) for batch in singles]
        for head in range(len(power.shift)):
            table, mask = np.zeros((sum(counts), 24)), np.zeros((sum(counts), 24))
            at = 0
            for scores, count in zip(tables, counts, strict=True):
                table[at : at + count, :count] = scores[head, :count, :count]
                mask[at : at + count, :count] = 1
                at += count
            shift, scale = fit_power(table, mask, power.power)
            power.shift[head], power.log_scale[head] = shift, np.log(scale)
        inputs = values_of(exact, batches, number, "ffn_pre").ravel()
        fitted = fit_activation("calibrated", inputs, "gelu").coefficients
        layer.activation.coefficients.copy_(torch.tensor(fitted))
    for number, layer in enumerate(student.thex_bert.layers):
        for norm, before, after in (
            (layer.attention_norm, "attention_out", "attention_norm"),
            (layer.output_norm, "layer_out", "layer_norm"),
        ):
            inputs = values_of(student, batches, number, before)
            gamma, beta = fit_affine(inputs, values_of(exact, batches, number, after))
            norm.weight.copy_(torch.from_numpy(gamma))
            norm.bias.copy_(torch.from_numpy(beta))
    clamp_scales(student)


def test_fits_are_those_of_whole_models_for_each_layer(data):
    exact = model_of()
    ours, theirs = copy_polynomial(exact, 2, "affine"), copy_polynomial(exact, 2, "affine")
    fit_replacements(exact, ours, data, len(data), "calibrated")
    fit_one_by_one(exact, theirs, data)
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("fit", [fit_least_squares, fit_replacements])
def test_layers_are_run_a_number_of_times_that_is_linear_in_depth(data, monkeypatch, fit):
    runs, forward = [], ThexBertLayer.forward
    monkeypatch.setattr(ThexBertLayer, "forward", lambda *a: runs.append(1) or forward(*a))
    counts = []
    for depth in (2, 4, 8):
        exact = model_of(depth)
        student = copy_polynomial(exact, 2, "affine")
        runs.clear()
        rest = ("calibrated",) if fit is fit_replacements else ()
        fit(exact, student, data, 48, *rest)
        counts.append(len(runs))
    assert counts[2] == 2 * counts[1] == 4 * counts[0]


def test_a_walk_sees_what_a_run_sees(data):
    model = model_of()
    batches = fit_batches(data, 48, size=16)
    walk = Walk(model, batches)
    with torch.no_grad():
        for number in range(3):
            expected = values_of(model, batches, number, "layer_out")
            np.testing.assert_allclose(walk.collect("layer_out"), expected, rtol=1e-6, atol=1e-6)
            for _ in walk.step():
                pass
    assert walk.number == 3


def test_samples_are_bounded_in_texts_and_in_tokens(data):
    def count(batches):
        masks = [batch["attention_mask"] for batch in batches]
        return sum(map(len, masks)), sum(int(mask.sum()) for mask in masks)

    assert count(fit_batches(data, 48))[0] == 48
    assert count(fit_batches(data, 10))[0] <= 10
    texts, tokens = count(fit_batches(data, 48, tokens=100))
    assert 10 < texts < 48
    assert 50 < tokens <= 130
    assert count(fit_batches(data, 48, tokens=1))[0] == 1


def test_activations_are_fitted_on_a_bounded_number_of_values(data, monkeypatch):
    seen = []
    monkeypatch.setattr(replacements, "MOST_VALUES", 500)
    real = replacements.fit_activation
    monkeypatch.setattr(
        replacements,
        "fit_activation",
        lambda n, values, o: seen.append(values) or real(n, values, o),
    )
    exact = model_of()
    fit_replacements(exact, copy_polynomial(exact, 2, "affine"), data, 48, "calibrated")
    assert all(100 < len(values) <= 520 for values in seen)


@pytest.mark.parametrize("power", [2, 4, 6])
def test_the_power_that_is_found_has_the_least_squared_distance(power):
    draw = np.random.default_rng(power)
    scores, mask = draw.normal(size=(30, 9)) * 2, np.ones((30, 9))
    mask[:15, 6:] = 0
    shift, scale = fit_power(scores, mask, power)

    def error(shift, scale):
        found = power_attention(scores, mask, power, shift, scale)
        return ((found - softmax(scores, mask)) ** 2).sum()

    least = error(shift, scale)
    assert least <= min(error(shift, scale * share) for share in (0.98, 1.02)) + 1e-12
    for other in np.linspace(0.25 * power, 4.0 * power, 61):
        shape = power_attention(scores, mask, power, other, 1.0)
        best = (shape * softmax(scores, mask)).sum() / (shape**2).sum()
        assert least <= error(other, best) + 1e-9
