"""The polynomial form: configuration, module against numpy, export, saving, ranges."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import polynomial_logits, random_polynomial_weights, random_weights

from thex_hf.approximations.activation import quadratic
from thex_hf.approximations.layernorm import centred_affine
from thex_hf.approximations.softmax import power_attention
from thex_hf.errors import ConversionError, OptionError
from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.modeling.calibrate import computed, measure_ranges
from thex_hf.modeling.layers import PowerAttention, Quadratic
from thex_hf.modeling.modeling_thex_bert import set_softmax
from thex_hf.modeling.norms import CentredNorm
from thex_hf.weights import EncoderWeights

POLYNOMIAL = {"activation": "quadratic", "softmax": "power"}


@pytest.fixture
def make_polynomial(make_model):
    """A random polynomial model whose learned constants all differ from their start."""

    def make(**changes):
        model = make_model(**{**POLYNOMIAL, "initializer_range": 0.1, **changes})
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(("shift", "log_scale", "coefficients", "bias", "norm.weight")):
                    parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
                    parameter.add_(0.1 * torch.rand_like(parameter))
        return model

    return make


def test_forms():
    assert ThexBertConfig().form == "the-x"
    assert ThexBertConfig(softmax="exact").form == "the-x"
    for norm in ("affine", "centred"):
        config = ThexBertConfig(**POLYNOMIAL, norm=norm)
        assert config.form == "polynomial"
        assert config.fully_converted
    for mixed in ({"softmax": "power"}, {"norm": "centred"}, {"activation": "quadratic"}):
        assert ThexBertConfig(**mixed).form == "unconverted"
    with pytest.raises(ConversionError, match=r"attention_power.*got 3"):
        ThexBertConfig(attention_power=3)


@pytest.mark.parametrize("norm", ["affine", "centred"])
@pytest.mark.parametrize("power", [2, 4, 6])
def test_torch_equals_the_numpy_reference(make_polynomial, batch, norm, power):
    model = make_polynomial(norm=norm, attention_power=power)
    weights = model.encoder_weights()
    assert weights.form == "polynomial"
    assert weights.layers[0].polynomial.centred == (norm == "centred")
    for row in range(2):
        count = int(batch["attention_mask"][row].sum())
        embeddings = model.embed(batch["input_ids"])[row, :count].detach().numpy()
        expected = polynomial_logits(weights, embeddings)
        got = model(**batch).logits[row].detach().numpy()
        np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-5)


def test_modules_equal_the_numpy_functions():
    rng = np.random.default_rng(0)
    scores, mask = rng.normal(size=(2, 2, 4, 6)), np.ones((2, 1, 1, 6))
    mask[0, ..., 4:] = 0
    module = PowerAttention(2, 4).double()
    with torch.no_grad():
        module.shift.copy_(torch.tensor([3.0, 5.0]))
        module.log_scale.copy_(torch.tensor([-2.0, -3.0]))
    got = module(torch.tensor(scores), torch.tensor(mask)).detach().numpy()
    for head, (c, r) in enumerate([(3.0, -2.0), (5.0, -3.0)]):
        want = power_attention(scores[:, head], mask[:, 0], 4, c, np.exp(r))
        np.testing.assert_allclose(got[:, head], want, rtol=1e-12)
    x = rng.normal(size=(3, 5))
    np.testing.assert_allclose(Quadratic().double()(torch.tensor(x)).detach(), quadratic(x))
    norm = CentredNorm(5).double()
    torch.nn.init.normal_(norm.weight)
    want = centred_affine(x, norm.weight.detach().numpy(), norm.bias.detach().numpy())
    np.testing.assert_allclose(norm(torch.tensor(x)).detach(), want, rtol=1e-12)


def test_a_fresh_power_attention_is_close_to_softmax_for_small_scores():
    scores = 0.05 * torch.randn(1, 2, 3, 8)
    got = PowerAttention(2, 2)(scores, torch.ones(1, 1, 1, 8))
    torch.testing.assert_close(got, torch.softmax(scores, -1), rtol=0.1, atol=0)


def test_padding_does_not_change_the_logits(make_polynomial, batch):
    model = make_polynomial()
    stream = model.embed(batch["input_ids"])
    mask = batch["attention_mask"]
    zeroed = model(inputs_embeds=stream * mask.unsqueeze(-1), attention_mask=mask).logits
    torch.testing.assert_close(zeroed, model(**batch).logits, rtol=1e-6, atol=1e-7)
    alone = model(input_ids=batch["input_ids"][:1, :5]).logits[0]
    torch.testing.assert_close(zeroed[0], alone, rtol=1e-5, atol=1e-6)


def test_saving_keeps_every_constant(make_polynomial, batch, tmp_path):
    model = make_polynomial(norm="centred", attention_power=4)
    model.save_pretrained(tmp_path)
    loaded = ThexBertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert loaded.config.form == "polynomial"
    assert loaded.config.attention_power == 4
    assert loaded.encoder_weights().fingerprint() == model.encoder_weights().fingerprint()
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_ranges_see_zeros_at_padding(make_polynomial, batch):
    model = make_polynomial()
    with torch.no_grad():
        model.thex_bert.embeddings.word_embeddings.weight[0, 3] = 100.0  # [PAD]
    ranges = measure_ranges(model, [batch])
    stream = model.embed(batch["input_ids"]) * batch["attention_mask"].unsqueeze(-1)
    traces = model.thex_bert.run_layers(stream, batch["attention_mask"])
    for number, (entry, trace) in enumerate(zip(ranges, traces, strict=True)):
        for name, values in computed(model, number, trace).items():
            assert entry[name] == pytest.approx(float(values.detach().abs().max())), name
    full = model.thex_bert.run_layers(model.embed(batch["input_ids"]), batch["attention_mask"])
    assert float(full[0].stream_in.abs().max()) > ranges[0]["stream_in"]


def test_softmax_cannot_be_switched(make_polynomial):
    with pytest.raises(OptionError, match="polynomial form"):
        set_softmax(make_polynomial(), "exact")


def test_the_x_weights_keep_their_fingerprint():
    assert random_weights().fingerprint().startswith("de78cb6f140cab2f")
    assert random_weights().form == "the-x"


def test_every_polynomial_term_is_in_the_fingerprint():
    weights = random_polynomial_weights()
    terms = weights.layers[1].polynomial
    seen = {weights.fingerprint()}
    for change in (
        {"power": 4},
        {"centred": True},
        {"score_shift": terms.score_shift + 1e-9},
        {"score_scale": terms.score_scale * 1.5},
        {"activation": terms.activation * 1.5},
    ):
        layer = replace(weights.layers[1], polynomial=replace(terms, **change))
        seen.add(replace(weights, layers=(weights.layers[0], layer)).fingerprint())
    assert len(seen) == 6


def test_mixed_layers_are_refused():
    plain, terms = random_weights(), random_polynomial_weights()
    with pytest.raises(ConversionError, match="same form"):
        replace(plain, layers=(plain.layers[0], terms.layers[1]))
    with pytest.raises(ConversionError, match="each of 4 heads"):
        EncoderWeights(4, terms.layers, terms.classifier, terms.classifier_bias)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"power": 3}, "power"),
        ({"score_scale": np.array([1.0, 0.0])}, "positive"),
        ({"score_scale": np.array([1.0, np.nan])}, "positive"),
        ({"score_shift": np.ones(3)}, "shapes"),
        ({"activation": np.array([0.0, 1.0, 0.0])}, "linear"),
    ],
)
def test_impossible_terms_are_refused(change, message):
    with pytest.raises(ConversionError, match=message):
        replace(random_polynomial_weights().layers[0].polynomial, **change)
