"""The normalised form: configuration, norm against numpy, export, bytes, saving, ranges."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import random_polynomial_weights, random_weights

from thex_hf._choices import NORM_DEGREES
from thex_hf.approximations.layernorm import chebyshev, exact, inverse_root
from thex_hf.client.encoder import form_of, read_encoder
from thex_hf.conversion.output import round_to_half
from thex_hf.errors import ConversionError, OptionError
from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.modeling.calibrate import calibrate_on, measure_ranges
from thex_hf.modeling.modeling_thex_bert import set_softmax
from thex_hf.modeling.norms import CentredNorm, ChebyshevNorm
from thex_hf.serving.spec import weights_from_bytes, weights_to_bytes
from thex_hf.weights import InverseRoot

NORMALISED = {"activation": "quadratic", "softmax": "power", "norm": "chebyshev"}
DEGREES = [[4, 0], [8, 1]]
ROOT = InverseRoot(np.array([1.2, -0.4, 0.1]), np.array([0.25, 2.0]))


@pytest.fixture
def make_normalised(make_model):
    """A random model whose learned constants all differ from their start."""

    def make(**changes):
        model = make_model(
            **{**NORMALISED, "norm_degrees": DEGREES, "initializer_range": 0.1, **changes}
        )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(("shift", "log_scale", "coefficients", "bias", "norm.weight")):
                    parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
                    parameter.add_(0.05 * torch.rand_like(parameter))
        return model

    return make


def with_roots(weights, **roots):
    """Weights of the polynomial form whose last layer divides by the deviation."""
    layer = weights.layers[-1]
    layer = replace(layer, polynomial=replace(layer.polynomial, centred=True), **roots)
    return replace(weights, layers=(*weights.layers[:-1], layer))


def test_the_form_and_its_degrees():
    config = ThexBertConfig(**NORMALISED)
    assert (config.form, config.fully_converted) == ("normalised", True)
    assert config.degrees == [[4, 4], [4, 4]]
    assert ThexBertConfig(**NORMALISED, norm_degrees=DEGREES).degrees == DEGREES
    assert ThexBertConfig().degrees == [[0, 0], [0, 0]]
    for mixed in ({"softmax": "estimate"}, {"activation": "relu"}):
        assert ThexBertConfig(**{**NORMALISED, **mixed}).form == "unconverted"


@pytest.mark.parametrize(
    "degrees",
    [
        [],
        [[4, 4]],
        [[4, 4]] * 3,
        [[4], [4, 4]],
        [[4, 3], [4, 4]],
        [[4, -1], [4, 4]],
        [[4, 4.0], [4, 4]],
        [[4, True], [4, 4]],
        [[0, 0], [0, 0]],
        ((4, 4), (4, 4)),
        {"0": [4, 4]},
        4,
    ],
)
def test_degrees_that_are_not_on_offer_are_refused(degrees):
    with pytest.raises(ConversionError, match=r"norm_degrees should be a list of 2 pairs.*got"):
        ThexBertConfig(**NORMALISED, norm_degrees=degrees)


def test_degrees_go_with_their_norm():
    with pytest.raises(ConversionError, match=r"goes with norm 'chebyshev'.*norm 'centred'"):
        ThexBertConfig(**{**NORMALISED, "norm": "centred"}, norm_degrees=DEGREES)


def test_a_layer_has_the_norms_of_its_degrees(make_normalised):
    model = make_normalised()
    kinds = [(type(x.attention_norm), type(x.output_norm)) for x in model.thex_bert.layers]
    assert kinds == [(ChebyshevNorm, CentredNorm), (ChebyshevNorm, ChebyshevNorm)]
    roots = [layer.roots for layer in model.encoder_weights().layers]
    found = [[0 if root is None else len(root.coefficients) - 1 for root in pair] for pair in roots]
    assert found == DEGREES
    assert all(layer.polynomial.centred for layer in model.encoder_weights().layers)


@settings(max_examples=examples(60), deadline=None)
@given(
    degree=st.sampled_from(NORM_DEGREES[1:]),
    low=st.floats(1e-3, 10.0),
    ratio=st.floats(1.1, 100.0),
    seed=st.integers(0, 1000),
)
def test_the_norm_is_numpys_and_layer_norm_within_the_error_of_its_fit(degree, low, ratio, seed):
    rng = np.random.default_rng(seed)
    norm = ChebyshevNorm(16, degree).double().eval()
    error = norm.reset_polynomial(low, low * ratio)
    ends = norm.interval.numpy()
    np.testing.assert_allclose(ends, [low, low * ratio], rtol=2e-3, atol=1e-6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    gamma, beta = (tensor.detach().numpy() for tensor in (norm.weight, norm.bias))
    rows = rng.normal(size=(12, 16)) + rng.normal(size=(12, 1))
    rows /= rows.std(-1, keepdims=True)
    rows *= np.sqrt(np.r_[ends, np.exp(rng.uniform(*np.log(ends), 10))])[:, None]
    got = norm(torch.tensor(rows)).detach().numpy()
    want = chebyshev(rows, gamma, beta, norm.coefficients.detach().numpy(), ends)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    true = exact(rows, gamma, beta, epsilon=0.0)
    assert (np.abs(got - true) <= (1.01 * error + 1e-6) * np.abs(true - beta) + 1e-9).all()


def test_higher_degrees_err_less_and_narrow_intervals_too():
    errors = [inverse_root(0.1, 3.0, degree)[1] for degree in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert inverse_root(0.5, 3.0, 4)[1] < errors[2]
    fitted, _ = inverse_root(0.1, 3.0, 4)
    with pytest.raises(ValueError, match="read-only"):
        fitted[0] = 0.0  # the next call gets the same


@pytest.mark.parametrize("ends", [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0001), (1e-9, 1.0), (1.0, 1e6)])
def test_an_interval_that_float16_cannot_hold_is_refused(ends):
    with pytest.raises(ConversionError, match="two positive numbers that float16"):
        ChebyshevNorm(4, 2).reset_polynomial(*ends)


def test_a_deep_model_is_made_in_little_time(make_model):
    make_model(**NORMALISED)
    begin = time.process_time()
    make_model(**NORMALISED, num_hidden_layers=12)
    assert time.process_time() - begin < 5.0  # no fit for each of its 24 norms


def test_padding_does_not_change_the_logits(make_normalised, batch):
    model = make_normalised()
    stream, mask = model.embed(batch["input_ids"]), batch["attention_mask"]
    for filled in (0.0, 1.0, 30.0):
        given = torch.where(mask.unsqueeze(-1) > 0, stream, filled)
        got = model(inputs_embeds=given, attention_mask=mask).logits
        torch.testing.assert_close(got, model(**batch).logits, rtol=1e-5, atol=1e-6)
    alone = model(input_ids=batch["input_ids"][:1, :5]).logits[0]
    torch.testing.assert_close(model(**batch).logits[0], alone, rtol=1e-5, atol=1e-6)


def test_ranges_are_those_of_true_tokens(make_normalised, batch):
    model = make_normalised()
    ranges = measure_ranges(model, [batch])
    with torch.no_grad():
        model.thex_bert.embeddings.word_embeddings.weight[0, 3] = 100.0  # [PAD]
    assert measure_ranges(model, [batch]) == ranges


def test_saving_keeps_every_constant(make_normalised, batch, tmp_path):
    model = make_normalised()
    model.save_pretrained(tmp_path)
    loaded = ThexBertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert (loaded.config.form, loaded.config.degrees) == ("normalised", DEGREES)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    weights = model.encoder_weights()
    assert loaded.encoder_weights().fingerprint() == weights.fingerprint()
    config = loaded.config.to_dict() | {"architectures": ["ThexBertForSequenceClassification"]}
    read = read_encoder(tmp_path / "model.safetensors", config)  # as a client without torch does
    assert (form_of(config), read.form) == ("normalised", "normalised")
    assert read.fingerprint() == weights.fingerprint()


def test_degrees_need_not_be_stated(make_model, tmp_path):
    model = make_model(**NORMALISED)
    model.save_pretrained(tmp_path)
    loaded = ThexBertForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.norm_degrees is None
    read = read_encoder(tmp_path / "model.safetensors", loaded.config.to_dict())
    assert read.fingerprint() == model.encoder_weights().fingerprint()


def test_rounding_to_float16_keeps_intervals_and_calibration(make_normalised, batch, tmp_path):
    model = make_normalised()
    norm = model.thex_bert.layers[0].attention_norm
    norm.reset_polynomial(0.1, 2.7)  # neither is a float16 number
    interval = norm.interval.clone()
    round_to_half(model)
    assert torch.equal(norm.interval, interval)
    with torch.no_grad():
        norm.interval.copy_(torch.tensor([0.1, 2.7]))  # as by a training of one's own
    round_to_half(model)
    calibrate_on(model, [batch])
    fingerprint = model.encoder_weights().fingerprint()
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state)
    loaded = ThexBertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert loaded.encoder_weights().fingerprint() == fingerprint  # the ranges are still its own


def test_changed_intervals_need_a_new_calibration(make_normalised, batch):
    model = make_normalised()
    calibrate_on(model, [batch])
    model.encoder_weights()
    with torch.no_grad():
        model.thex_bert.layers[1].output_norm.interval[1] += 1.0
    with pytest.raises(ConversionError, match="changed since its ranges were measured"):
        model.encoder_weights()


def test_bytes_keep_every_root():
    weights = with_roots(random_polynomial_weights(), output_root=ROOT)
    again = weights_from_bytes(weights_to_bytes(weights))
    assert again.fingerprint() == weights.fingerprint()
    assert [layer.roots[0] for layer in again.layers] == [None, None]
    assert again.layers[0].roots == (None, None)
    np.testing.assert_array_equal(again.layers[1].output_root.interval, ROOT.interval)
    np.testing.assert_array_equal(again.layers[1].output_root.coefficients, ROOT.coefficients)


def test_every_part_of_a_root_is_in_the_fingerprint():
    weights = random_polynomial_weights()
    seen = {with_roots(weights).fingerprint()}
    for roots in (
        {"output_root": ROOT},
        {"attention_root": ROOT},
        {"attention_root": ROOT, "output_root": ROOT},
        {"output_root": replace(ROOT, interval=ROOT.interval + 1e-9)},
        {"output_root": replace(ROOT, coefficients=ROOT.coefficients + 1e-9)},
    ):
        changed = with_roots(weights, **roots)
        assert changed.form == "normalised"
        seen.add(changed.fingerprint())
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coefficients": np.ones(4)}, "one of the degrees"),
        ({"coefficients": np.ones(1)}, "one of the degrees"),
        ({"coefficients": np.ones((3, 1))}, "one of the degrees"),
        ({"interval": np.array([0.0, 1.0])}, "rising positive"),
        ({"interval": np.array([2.0, 1.0])}, "rising positive"),
        ({"interval": np.array([1.0, np.inf])}, "rising positive"),
        ({"interval": np.array([1.0, np.nan])}, "rising positive"),
        ({"interval": np.ones(3)}, "rising positive"),
    ],
)
def test_impossible_roots_are_refused(change, message):
    with pytest.raises(ConversionError, match=message):
        replace(ROOT, **change)


def test_weights_with_roots_out_of_place_are_refused():
    plain = random_weights()
    with pytest.raises(ConversionError, match="go with power attention"):
        replace(plain, layers=(replace(plain.layers[0], output_root=ROOT), plain.layers[1]))
    broken = replace(ROOT, coefficients=np.array([1.0, np.nan, 1.0]))
    with pytest.raises(ConversionError, match="layer 1 norm is not"):
        with_roots(random_polynomial_weights(), output_root=broken)


def test_softmax_cannot_be_switched(make_normalised):
    with pytest.raises(OptionError, match="normalised form"):
        set_softmax(make_normalised(), "exact")


def test_in_training_a_norm_is_exact_beyond_its_interval_and_the_polynomial_on_it():
    norm = ChebyshevNorm(16, 4).eval()
    norm.reset_polynomial(0.5, 2.0)
    variances = torch.tensor([0.3, 0.5, 1.0, 2.0, 4.0, 1e6])
    plain = norm.root(variances)
    norm.train()
    guarded = norm.root(variances)
    assert torch.equal(guarded[:4], plain[:4])
    assert torch.allclose(guarded[4:], variances[4:].rsqrt())
    assert float(plain[-1].abs()) > 1e20
