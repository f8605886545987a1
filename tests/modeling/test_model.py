import pytest
import torch
from torch.nn import functional

from thex_hf.errors import ConversionError, InputError
from thex_hf.modeling.calibrate import measure_ranges
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS


@pytest.mark.parametrize("softmax", ["estimate", "exact"])
def test_padding_does_not_change_the_logits(make_model, batch, softmax):
    model = make_model(softmax=softmax)
    padded = model(**batch).logits[0]
    alone = model(input_ids=batch["input_ids"][:1, :5]).logits[0]
    torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)


def test_content_of_padding_does_not_matter(make_model, batch):
    model = make_model()
    other = batch["input_ids"].where(batch["attention_mask"] == 1, torch.tensor(11))
    torch.testing.assert_close(
        model(**batch).logits, model(other, batch["attention_mask"]).logits, rtol=1e-6, atol=1e-7
    )


def test_words_do_matter(make_model, batch):
    model = make_model()
    other = batch["input_ids"].clone()
    other[0, 2] = 12
    assert not torch.allclose(model(**batch).logits[0], model(other).logits[0])


def test_embedded_input_gives_the_same_result(make_model, batch):
    model = make_model()
    stream = model.embed(batch["input_ids"])
    mask = batch["attention_mask"]
    again = model(inputs_embeds=stream, attention_mask=mask).logits
    torch.testing.assert_close(again, model(**batch).logits)
    encoder = model.thex_bert
    torch.testing.assert_close(
        encoder(inputs_embeds=stream, attention_mask=mask).last_hidden_state,
        encoder(**batch).last_hidden_state,
    )
    with pytest.raises(InputError):
        encoder(batch["input_ids"], inputs_embeds=stream)
    with pytest.raises(InputError):
        encoder()


def test_segments_change_the_embedding(make_model, batch):
    model = make_model()
    ids = batch["input_ids"]
    assert not torch.allclose(model.embed(ids), model.embed(ids, torch.ones_like(ids)))


def test_hidden_states_and_tuples(make_model, batch):
    model = make_model()
    output = model(**batch, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    torch.testing.assert_close(model.classifier(output.hidden_states[-1][:, 0]), output.logits)
    assert model(**batch, return_dict=False)[0].shape == (2, 2)
    assert model(**batch).hidden_states is None


def test_losses_of_the_three_kinds_of_task(make_model, batch):
    classes = make_model(num_labels=3)
    out = classes(**batch, labels=torch.tensor([2, 0]))
    torch.testing.assert_close(out.loss, functional.cross_entropy(out.logits, torch.tensor([2, 0])))
    number = make_model(num_labels=1)
    out = number(**batch, labels=torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(
        out.loss, functional.mse_loss(out.logits[:, 0], torch.tensor([0.5, 2.0]))
    )
    several = make_model(num_labels=3)
    wanted = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    out = several(**batch, labels=wanted)
    torch.testing.assert_close(
        out.loss, functional.binary_cross_entropy_with_logits(out.logits, wanted)
    )
    bad = make_model()
    bad.config.problem_type = "other"
    with pytest.raises(ConversionError, match="problem_type"):
        bad(**batch, labels=torch.tensor([1, 0]))


@pytest.mark.parametrize("change", [{"activation": "gelu"}, {"norm": "layernorm"}])
def test_only_fully_converted_models_are_exported(make_model, change):
    with pytest.raises(ConversionError, match="thex-hf convert"):
        make_model(**change).encoder_weights()


def test_ranges_are_the_largest_values_seen(make_model, batch):
    model = make_model()
    ranges = measure_ranges(model, [batch])
    assert [set(entry) for entry in ranges] == [set(RANGE_KEYS)] * 2
    traces = model.thex_bert.run_layers(model.embed(batch["input_ids"]), batch["attention_mask"])
    assert ranges[0]["scores"] == pytest.approx(float(traces[0].scores.detach().abs().max()))
    asked = traces[1].scores[:, :, :1].detach()  # nothing computes the other rows of the last layer
    assert ranges[1]["scores"] == pytest.approx(float(asked.abs().max()))
    assert ranges[1]["value"] == pytest.approx(float(traces[1].value.detach().abs().max()))
    wider = measure_ranges(model, [batch, {**batch, "input_ids": batch["input_ids"].flip(0) + 1}])
    assert all(wider[i][k] >= ranges[i][k] for i in range(2) for k in RANGE_KEYS)


def test_ranges_refuse_nan_and_nothing(make_model, batch):
    model = make_model()
    with pytest.raises(ConversionError, match="at least one"):
        measure_ranges(model, [])
    with torch.no_grad():
        model.thex_bert.layers[0].up.bias[3] = float("nan")
    with pytest.raises(ConversionError, match="layer 0"):
        measure_ranges(model, [batch, batch])
