"""What is added to scores by distance (MPNet): buckets, torch against numpy, files, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import polynomial_logits, random_normalised_weights, random_polynomial_weights
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from thex_hf.client.encoder import read_encoder
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.serving.spec import weights_from_bytes, weights_to_bytes
from thex_hf.weights import distance_buckets

FORM = {"activation": "quadratic", "softmax": "power", "norm": "chebyshev"}
DEGREES = [(4, 2), (2, 4)]


@pytest.fixture
def model(make_model):
    made = make_model(**FORM, relative_attention_num_buckets=16, initializer_range=0.1)
    torch.nn.init.normal_(made.thex_bert.relative.table.weight)
    return made


@pytest.mark.parametrize("buckets", [8, 16, 32, 64])
def test_buckets_are_those_of_mpnet(buckets):
    distances = torch.arange(-700, 701)
    want = MPNetEncoder.relative_position_bucket(distances, buckets).numpy()
    assert np.array_equal(distance_buckets(distances.numpy(), buckets), want)


def test_the_torch_model_computes_what_its_weights_say(model, batch):
    weights = model.encoder_weights()
    logits = model(**batch).logits.detach().numpy()
    for row, mask in enumerate(batch["attention_mask"].bool()):
        ids = batch["input_ids"][row : row + 1, mask]
        x = model.embed(ids)[0].detach().numpy()
        np.testing.assert_allclose(logits[row], polynomial_logits(weights, x), atol=1e-4)
        without = replace(weights, relative=None)
        assert np.abs(logits[row] - polynomial_logits(without, x)).max() > 1e-3


def test_padding_on_the_left_moves_nothing(model, batch):
    ids, mask = batch["input_ids"], batch["attention_mask"]
    turned = [row.roll(int((keep == 0).sum())) for row, keep in zip(ids, mask, strict=True)]
    left = torch.stack(turned)
    got = model(left, (left != 0).long()).logits
    torch.testing.assert_close(got, model(ids, mask).logits, rtol=1e-4, atol=1e-5)


def test_hidden_states_are_those_of_the_layers(model, batch):
    states = model(**batch, output_hidden_states=True).hidden_states
    stream = model.embed(batch["input_ids"])
    for want, trace in zip(
        states[1:], model.thex_bert.run_layers(stream, batch["attention_mask"]), strict=True
    ):
        assert torch.equal(want, trace.layer_norm)


def test_files_and_bytes_keep_it(model, tmp_path):
    weights = model.encoder_weights()
    assert weights_from_bytes(weights_to_bytes(weights)).fingerprint() == weights.fingerprint()
    model.save_pretrained(tmp_path)
    loaded = ThexBertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert loaded.encoder_weights().fingerprint() == weights.fingerprint()
    read = read_encoder(tmp_path / "model.safetensors", loaded.config.to_dict())
    assert read.fingerprint() == weights.fingerprint()


def test_every_number_of_it_is_in_the_fingerprint():
    weights = random_normalised_weights(DEGREES, buckets=16)
    other = weights.relative.copy()
    other[3, 1] += 1e-9
    found = {
        each.fingerprint()
        for each in (
            weights,
            replace(weights, relative=None),
            replace(weights, relative=other),
            replace(weights, relative=weights.relative[:8]),
        )
    }
    assert len(found) == 4


@pytest.mark.parametrize("buckets", [0, 3, 10, -4, 16.0, True, "32"])
def test_other_counts_are_refused(buckets):
    with pytest.raises(ConversionError, match="positive multiple of 4"):
        ThexBertConfig(**FORM, relative_attention_num_buckets=buckets)


@pytest.mark.parametrize("form", [{}, {**FORM, "norm": "affine"}])
def test_other_forms_are_refused(form):
    with pytest.raises(ConversionError, match=r"'prepared'.*--form normalised"):
        ThexBertConfig(**form, relative_attention_num_buckets=32)
    assert ThexBertConfig(**FORM, relative_attention_num_buckets=32).form == "normalised"


@pytest.mark.parametrize("shape", [(16, 3), (15, 2), (2, 16), (16,)])
def test_weights_of_another_shape_are_refused(shape):
    with pytest.raises(ConversionError, match=r"relative should have shape \(buckets, 2\)"):
        replace(random_normalised_weights(DEGREES, buckets=16), relative=np.zeros(shape))


def test_weights_of_another_form_are_refused():
    with pytest.raises(ConversionError, match="polynomial form"):
        replace(random_polynomial_weights(), relative=np.zeros((16, 2)))
    weights = random_normalised_weights(DEGREES, buckets=16)
    with pytest.raises(ConversionError, match="relative is not"):
        replace(weights, relative=np.full((16, 2), np.nan))
