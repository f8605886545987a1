"""What classifiers read: the first row, the mean row, every row; and ELECTRA's projection."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForTokenClassification

from thex_hf.errors import ConversionError
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
    register_auto_classes,
)
from thex_hf.modeling.calibrate import measure_ranges
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS
from thex_hf.modeling.modeling_thex_bert import set_softmax
from thex_hf.modeling.tasks import pool


@pytest.fixture
def make_tagger(make_model):
    def make(**changes):
        torch.manual_seed(1)
        config = make_model(**{"num_labels": 5, **changes}).config
        return ThexBertForTokenClassification(config).eval()

    return make


def test_the_mean_is_over_true_tokens(make_model, batch):
    model = make_model(pooling="mean")
    stream = model.thex_bert(**batch).last_hidden_state
    for row, count in enumerate((5, 4)):
        want = model.classifier(stream[row, :count].mean(0))
        torch.testing.assert_close(model(**batch).logits[row], want)
    torch.testing.assert_close(pool(stream, None, "mean"), stream.mean(1))
    with pytest.raises(ConversionError, match="cls or mean; got 'max'"):
        pool(stream, None, "max")


def test_padding_changes_neither_mean_nor_tokens(make_model, make_tagger, batch):
    for model in (make_model(pooling="mean"), make_tagger()):
        padded = model(**batch).logits[0]
        alone = model(input_ids=batch["input_ids"][:1, :5]).logits[0]
        padded = padded[:5] if model.every_token else padded
        torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)


def test_each_token_has_its_own_logits(make_tagger, batch):
    model = make_tagger()
    out = model(**batch, output_hidden_states=True)
    assert out.logits.shape == (2, 8, 5)
    torch.testing.assert_close(model.classifier(out.hidden_states[-1]), out.logits)
    assert not torch.allclose(out.logits[0, 1], out.logits[0, 2])
    assert torch.equal(model(**batch, return_dict=False)[0], out.logits)
    stream = model.embed(batch["input_ids"])
    again = model(inputs_embeds=stream, attention_mask=batch["attention_mask"]).logits
    torch.testing.assert_close(again, out.logits)


def test_ignored_tokens_are_not_in_the_loss(make_tagger, batch):
    model = make_tagger()
    labels = torch.full((2, 8), -100)
    labels[0, 1], labels[1, 2] = 4, 0
    out = model(**batch, labels=labels)
    wanted = torch.stack([out.logits[0, 1], out.logits[1, 2]])
    torch.testing.assert_close(out.loss, functional.cross_entropy(wanted, torch.tensor([4, 0])))


def test_a_tagger_learns(make_tagger, batch):
    """Gradients reach the encoder: tokens are told apart by their left neighbour."""
    model = make_tagger(activation="gelu", softmax="exact", norm="layernorm")
    labels = batch["input_ids"].roll(1, 1) % 5
    labels[batch["attention_mask"] == 0] = -100
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = model(**batch).logits.argmax(-1)[labels != -100]
    assert torch.equal(right, labels[labels != -100])


def test_saving_names_the_architecture_and_auto_classes_find_it(make_tagger, batch, tmp_path):
    model = make_tagger(embedding_size=12)
    model.save_pretrained(tmp_path)
    register_auto_classes()
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.architectures == ["ThexBertForTokenClassification"]
    assert config.embedding_size == 12
    again = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert type(again) is ThexBertForTokenClassification
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_pooling_survives_saving(make_model, batch, tmp_path):
    model = make_model(pooling="mean")
    model.save_pretrained(tmp_path)
    again = ThexBertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert again.config.pooling == "mean"
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_configurations_from_before_have_neither_pooling_nor_projection(make_model, tmp_path):
    fields = make_model().config.to_dict()
    for name in ("pooling", "embedding_size"):
        del fields[name]
    config = ThexBertConfig(**fields)
    assert (config.pooling, config.embedding_size) == ("cls", None)
    assert ThexBertConfig(hidden_size=32, embedding_size=32).embedding_size is None


@pytest.mark.parametrize("change", [{"pooling": "max"}, {"embedding_size": 0}])
def test_impossible_fields_are_refused(change):
    name = next(iter(change))
    with pytest.raises(ConversionError, match=f"{name} should be"):
        ThexBertConfig(**change)


def test_narrow_embeddings_are_projected_after_their_norm(make_model, batch):
    model = make_model(embedding_size=12)
    block = model.thex_bert.embeddings
    assert block.word_embeddings.weight.shape == (20, 12)
    ids = batch["input_ids"]
    places = torch.arange(ids.shape[1])
    total = block.word_embeddings(ids) + block.position_embeddings(places)
    total = block.norm(total + block.token_type_embeddings(torch.zeros_like(ids)))
    torch.testing.assert_close(model.embed(ids), block.embeddings_project(total))
    assert model.embed(ids).shape == (2, 8, 32)
    assert model.encoder_weights().hidden == 32


def test_export_names_what_the_classifier_reads(make_model, make_tagger):
    assert make_model().encoder_weights().head == "cls"
    assert make_model(pooling="mean").encoder_weights().head == "mean"
    tagger = make_tagger(pooling="mean")
    weights = tagger.encoder_weights()
    assert weights.head == "tokens"
    np.testing.assert_array_equal(weights.classifier, tagger.classifier.weight.detach().double())
    polynomial = make_tagger(activation="quadratic", softmax="power")
    assert polynomial.encoder_weights().form == "polynomial"
    with pytest.raises(ConversionError, match="thex-hf convert"):
        make_tagger(norm="layernorm").encoder_weights()


@pytest.mark.parametrize("kinds", [{}, {"activation": "quadratic", "softmax": "power"}])
def test_ranges_and_switch_work_for_taggers(make_tagger, batch, kinds):
    model = make_tagger(embedding_size=12, **kinds)
    ranges = measure_ranges(model, [batch])
    assert [set(entry) for entry in ranges] == [set(RANGE_KEYS)] * 2
    if not kinds:
        before = model(**batch).logits
        set_softmax(model, "exact")
        assert not torch.allclose(model(**batch).logits, before)
