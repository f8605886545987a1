"""Ranges belong to weights: their record, its digest, and the refusal of what changed since."""

import pytest
import torch

from thex_hf.errors import ConversionError, DivergenceError
from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.modeling.calibrate import calibrate_on
from thex_hf.modeling.export import weights_digest, weights_mark

POLYNOMIAL = {"activation": "quadratic", "softmax": "power"}
FORMS = pytest.mark.parametrize("form", [{}, POLYNOMIAL], ids=["the-x", "polynomial"])


@FORMS
def test_a_calibrated_model_says_with_what(make_model, batch, form):
    model = make_model(**form)
    calibrate_on(model, [batch])
    record = model.config.calibration
    assert record["weights"] == weights_digest(model, model.config)
    assert record["texts"] == 2
    logits = model(**batch).logits.detach().abs().max()
    assert record["logit"] == pytest.approx(float(logits))
    model.encoder_weights()


def test_strange_texts_widen_ranges_unless_they_run_away(make_model):
    """Word 15 is a little unlike the others, word 16 very much."""
    model = make_model(initializer_range=0.05, **POLYNOMIAL)
    with torch.no_grad():
        table = model.thex_bert.embeddings
        table.word_embeddings.weight[:, 3] = table.word_embeddings.weight.mean(1)
        table.word_embeddings.weight[15, 3] += 0.01
        table.word_embeddings.weight[16, 3] += 1.0
        table.norm.weight[3] = 4.0
    usual, near, far = (
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        for ids in (torch.full((1, 4), word) for word in (5, 15, 16))
    )
    calibrate_on(model, [usual])
    narrow = model.config.ranges
    calibrate_on(model, [usual], [near])
    wide, record = model.config.ranges, model.config.calibration
    assert (record["texts"], record["strange"], record["beyond"]) == (1, 1, 0)
    assert any(wide[i][k] > narrow[i][k] for i in range(2) for k in narrow[i])
    both = {name: torch.cat([near[name], far[name]]) for name in near}
    calibrate_on(model, [usual], [both])
    record = model.config.calibration
    assert (record["texts"], record["strange"], record["beyond"]) == (1, 2, 1)
    assert model.config.ranges == wide


@FORMS
@pytest.mark.parametrize(
    "place", ["thex_bert.embeddings.word_embeddings", "thex_bert.layers.1.up", "classifier"]
)
def test_changed_weights_are_refused(make_model, batch, form, place):
    model = make_model(**form)
    calibrate_on(model, [batch])
    with torch.no_grad():
        model.get_submodule(place).weight[1, 1] += 0.01
    with pytest.raises(ConversionError, match=r"changed since.*thex_hf.calibrate\(.*thex-hf cali"):
        model.encoder_weights()
    calibrate_on(model, [batch])
    model.encoder_weights()


def test_a_change_of_the_configuration_is_one_of_the_function(make_model, batch):
    model = make_model(**POLYNOMIAL)
    calibrate_on(model, [batch])
    model.config.pooling = "mean"
    with pytest.raises(ConversionError, match="changed since"):
        model.encoder_weights()


def test_the_digest_is_of_values_not_of_their_storage(make_model, batch, tmp_path):
    model = make_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    calibrate_on(model, [batch])
    half = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "half", state_dict=half)
    loaded = ThexBertForSequenceClassification.from_pretrained(tmp_path / "half")
    assert loaded.config.calibration == model.config.calibration
    loaded.encoder_weights()
    loaded.save_pretrained(tmp_path / "whole")
    again = ThexBertForSequenceClassification.from_pretrained(tmp_path / "whole")
    again.encoder_weights()
    assert weights_digest(again, again.config) == weights_digest(model.half(), model.config)


def test_whatever_writes_weights_changes_the_mark(make_model):
    model = make_model()
    seen = [weights_mark(model)]
    assert weights_mark(model) == seen[0]
    with torch.no_grad():
        model.classifier.weight.mul_(1.0)  # an optimiser's way, even without effect
    seen.append(weights_mark(model))
    model.classifier.weight.data.mul_(2.0)  # no version is counted here
    seen.append(weights_mark(model))
    model.load_state_dict(make_model().state_dict())
    seen.append(weights_mark(model))
    assert len(set(seen)) == 4


def test_what_cannot_be_told_is_said_once(make_model, batch, heard):
    model = make_model()
    model.config.name_or_path = "an-old-model"
    model.encoder_weights()
    calibrate_on(model, [batch])
    model.config.calibration = None
    model.encoder_weights()
    model.encoder_weights()
    never, unknown = [line for line in heard if "an-old-model" in line]
    assert "never calibrated" in never
    assert "does not say" in unknown
    assert "thex-hf calibrate" in unknown


@pytest.mark.parametrize(
    "record",
    [
        "abc",
        {},
        {"weights": 3},
        {"weights": "ab", "logit": float("nan")},
        {"weights": "ab", "logit": -1.0},
        {"weights": "ab", "texts": 1.5},
    ],
)
def test_a_wrong_record_is_refused(record):
    with pytest.raises(ConversionError, match="calibration should be"):
        ThexBertConfig(calibration=record)


def test_a_record_may_hold_what_later_versions_know():
    kept = ThexBertConfig(calibration={"weights": "ab", "more": [1]}).to_dict()["calibration"]
    assert kept == {"weights": "ab", "more": [1]}


def test_a_model_that_diverged_keeps_its_old_record(make_model, batch):
    model = make_model()
    calibrate_on(model, [batch])
    before = (model.config.ranges, model.config.calibration)
    with torch.no_grad():
        model.thex_bert.layers[0].up.bias[3] = float("inf")
    with pytest.raises(ConversionError, match="layer 0"):
        calibrate_on(model, [batch])
    assert (model.config.ranges, model.config.calibration) == before


def test_usual_texts_that_run_away_in_a_normalised_model_are_counted(make_model):
    """Word 16 brings a variance beyond every interval; a hundredth of the texts may have it."""
    model = make_model(initializer_range=0.05, norm="chebyshev", **POLYNOMIAL)
    with torch.no_grad():
        table = model.thex_bert.embeddings
        for kind in ("word", "position", "token_type"):
            weight = getattr(table, f"{kind}_embeddings").weight
            weight[:, 3] = weight.mean(1)
        table.word_embeddings.weight[16, 3] += 1.0
        table.norm.weight[3] = 60.0

    def texts(usual, far):
        ids = torch.cat([torch.full((usual, 4), 5), torch.full((far, 4), 16)])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    calibrate_on(model, [texts(200, 0)])
    ranges, record = model.config.ranges, model.config.calibration
    assert "lost" not in record
    calibrate_on(model, [texts(200, 2)])
    assert model.config.ranges == ranges
    assert model.config.calibration == {**record, "texts": 202, "lost": 2}
    with pytest.raises(DivergenceError, match="3 of 203 calibration texts"):
        calibrate_on(model, [texts(200, 3)])
    assert model.config.calibration["lost"] == 2
