"""Every architecture: our copy computes the same, names go there and back."""

import pytest
import torch
from source_models import STEMS, make_source, padded_batch

from thex_hf.conversion.sources import family_of, fit_head, start_model, to_source, to_thex
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertForSequenceClassification, ThexBertForTokenClassification
from thex_hf.modeling.calibrate import measure_ranges

EXACT = {"activation": "gelu", "softmax": "exact", "norm": "layernorm"}
ENDINGS = {"sequence": "ForSequenceClassification", "tokens": "ForTokenClassification"}
KINDS = list(STEMS)


def hidden_states(model, ids, mask):
    return model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", list(ENDINGS))
def test_the_exact_copy_has_the_same_streams(kind, task):
    """Folded value bias, dropped key bias, shifted positions, projection: nothing changes."""
    source = make_source(kind, ENDINGS[task])
    ours = start_model(source, task=task, **EXACT)
    ids, mask = padded_batch(source)
    got, expected = hidden_states(ours, ids, mask), hidden_states(source, ids, mask)
    assert len(got) == 3
    for mine, theirs in zip(got, expected[-3:], strict=True):
        torch.testing.assert_close(mine[mask == 1], theirs[mask == 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_of_tokens_is_copied_whole(kind):
    source = make_source(kind, ENDINGS["tokens"])
    ours = start_model(source, task="tokens", **EXACT)
    assert isinstance(ours, ThexBertForTokenClassification)
    ids, mask = padded_batch(source)
    got, expected = (m(input_ids=ids, attention_mask=mask).logits for m in (ours, source))
    assert got.shape == (2, 7, 3)
    torch.testing.assert_close(got[mask == 1], expected[mask == 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "electra"])
def test_segments_go_along(kind):
    source = make_source(kind)
    ours = start_model(source, **EXACT)
    ids, mask = padded_batch(source)
    types = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0]])
    got, expected = (
        m(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
        for m in (ours, source)
    )
    got, expected = got.hidden_states[-1], expected.hidden_states[-1]
    torch.testing.assert_close(got[mask == 1], expected[mask == 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
def test_without_segments_their_ids_are_ignored(kind):
    source = make_source(kind)
    ours = start_model(source, **EXACT)
    ids, mask = padded_batch(source)
    assert torch.equal(ours(ids, mask, torch.ones_like(ids)).logits, ours(ids, mask).logits)


def test_each_approximation_changes_the_result():
    source = make_source("bert")
    ids, mask = padded_batch(source)
    base = start_model(source, **EXACT)(ids, mask).logits
    for change in ({"activation": "relu"}, {"softmax": "estimate"}, {"norm": "affine"}):
        other = start_model(source, **{**EXACT, **change})
        assert not torch.allclose(other(ids, mask).logits, base)
    mean = start_model(source, pooling="mean", **EXACT)
    assert not torch.allclose(mean(ids, mask).logits, base)


@pytest.mark.parametrize("act", ["relu", "gelu_new"])
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_other_activations(kind, act):
    name = "activation" if kind == "distilbert" else "hidden_act"
    source = make_source(kind, **{name: act})
    ours = start_model(source, **EXACT)
    assert ours.config.activation == ("relu" if act == "relu" else "gelu")
    ids, mask = padded_batch(source)
    got, expected = hidden_states(ours, ids, mask)[-1], hidden_states(source, ids, mask)[-1]
    near = 1e-5 if act == "relu" else 1e-2  # gelu_new is an approximation of GELU itself
    torch.testing.assert_close(got[mask == 1], expected[mask == 1], rtol=near, atol=near)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", list(ENDINGS))
def test_names_go_there_and_back(kind, task):
    source = make_source(kind, ENDINGS[task])
    family = family_of(source.config, task)
    state = source.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    there = to_thex(state, family)
    back = to_source(there, family)
    assert {key for key in state if key not in back} == {key for key in state if family.drops(key)}
    assert set(back) <= set(state)
    for name, tensor in back.items():
        ours = family.rename(name)
        if ours.endswith(("key.bias", "value.bias")):
            assert not tensor.any()
        elif ours.endswith("position_embeddings.weight"):
            offset = family.position_offset
            assert not tensor[:offset].any()
            assert torch.equal(tensor[offset:], state[name][offset:])
        elif not ours.endswith("attention.output.bias"):
            assert torch.equal(tensor, state[name]), name
    again = to_thex(back, family)
    assert again.keys() == there.keys()
    assert all(torch.equal(again[name], there[name]) for name in there)
    assert all(torch.equal(state[name], before[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_loaded_back_the_source_has_the_streams_of_our_model(kind):
    """Also after training, when the row that stands for missing segments is no longer zero."""
    source = make_source(kind)
    ours = start_model(source, **EXACT)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    back = to_source(ours.state_dict(), family_of(source.config))
    source.load_state_dict(back, strict=False)
    ids, mask = padded_batch(source)
    got, expected = hidden_states(source, ids, mask)[-1], hidden_states(ours, ids, mask)[-1]
    torch.testing.assert_close(got[mask == 1], expected[mask == 1], rtol=1e-5, atol=1e-5)


def test_unknown_tensors_and_models_are_refused():
    source = make_source("bert")
    with pytest.raises(ConversionError, match=r"lora.*BERT encoders"):
        family_of(source.config).rename("lora.weight")
    source.config.model_type = "gpt2"
    with pytest.raises(ConversionError, match=r"gpt2.*DistilBertForSequenceClassification"):
        start_model(source)


@pytest.mark.parametrize("task", ["sequence", "tokens", "images"])
def test_a_model_for_another_task_is_refused(task):
    other = "tokens" if task == "sequence" else "sequence"
    with pytest.raises(ConversionError, match=r"ForSequence|ForToken|images"):
        start_model(make_source("bert", ENDINGS[other]), task=task)


def test_a_model_of_ours_can_be_started_from():
    exact = start_model(make_source("electra"), pooling="mean", **EXACT)
    exact.config.ranges = measure_ranges(
        exact, [dict(zip(("input_ids", "attention_mask"), padded_batch(exact), strict=True))]
    )
    ids, mask = padded_batch(exact)
    same = start_model(exact, pooling="mean", **EXACT)
    assert torch.equal(same(ids, mask).logits, exact(ids, mask).logits)
    other = start_model(exact)
    assert (other.config.activation, other.config.softmax) == ("relu", "estimate")
    assert (other.config.pooling, other.config.ranges) == ("cls", None)
    assert other.config.reciprocal is not None
    assert exact.config.ranges
    exact.config.softmax = "power"
    with pytest.raises(ConversionError, match="polynomial or normalised form"):
        start_model(exact)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_fitted_classifier_follows_a_linear_answer(kind, pooling):
    """With more texts than features, ridge regression finds a linear classifier again."""
    model = start_model(make_source(kind), pooling=pooling, **EXACT)
    ids = torch.randint(5, 24, (200, 9))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        stream = model.thex_bert(ids, mask).last_hidden_state
        states = model.read(stream, mask)
        wanted = states @ torch.randn(32, 3) + torch.tensor([5.0, -1.0, 2.0])
        before = (model(ids, mask).logits - wanted).square().mean()
        fit_head(model, states, wanted)
        after = (model(ids, mask).logits - wanted).square().mean()
    assert after < 1e-3 * wanted.var()
    assert after < 1e-2 * before


def test_the_fit_does_not_care_for_scale_and_stands_constant_states():
    model = start_model(make_source("bert"), **EXACT)
    fit_head(model, torch.ones(4, 32), torch.arange(12.0).view(4, 3))
    torch.testing.assert_close(model.classifier.bias, torch.tensor([4.5, 5.5, 6.5]))
    assert not model.classifier.weight.any()
    states, wanted = torch.randn(50, 32), torch.randn(50, 3)
    fit_head(model, states, wanted)
    weight = model.classifier.weight.clone()
    fit_head(model, 1000 * states, wanted)
    torch.testing.assert_close(1000 * model.classifier.weight, weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("states", "logits", "message"),
    [
        (torch.ones(4, 31), torch.ones(4, 3), "shapes"),
        (torch.ones(4, 32), torch.ones(5, 3), "shapes"),
        (torch.ones(0, 32), torch.ones(0, 3), "shapes"),
        (torch.full((4, 32), float("nan")), torch.ones(4, 3), "finite"),
    ],
)
def test_the_fit_refuses_what_it_cannot_use(states, logits, message):
    model = start_model(make_source("bert"), **EXACT)
    assert isinstance(model, ThexBertForSequenceClassification)
    with pytest.raises(ConversionError, match=message):
        fit_head(model, states, logits)
