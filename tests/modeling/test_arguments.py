"""Arguments of loading and of a call are honoured or refused."""

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    pipeline,
)

import thex_hf
from thex_hf.errors import InputError, OptionError
from thex_hf.modeling import ThexBertForSequenceClassification, ThexBertForTokenClassification

KINDS = pytest.mark.parametrize(
    "kind", [ThexBertForSequenceClassification, ThexBertForTokenClassification]
)


@KINDS
def test_attention_weights_are_given_where_they_are_wanted(make_model, batch, kind):
    model = kind(make_model(softmax="exact").config).eval()
    found = model(**batch, output_attentions=True).attentions
    assert [tuple(one.shape) for one in found] == [(2, 4, 8, 8)] * 2
    torch.testing.assert_close(found[0][..., :5].sum(-1)[0], torch.ones(4, 8))
    assert model(**batch).attentions is None
    model.config.output_attentions = True
    assert torch.equal(model(**batch).attentions[1], found[1])
    assert torch.equal(model.thex_bert(**batch).attentions[1], found[1])


@KINDS
def test_a_configuration_can_ask_for_tuples(make_model, batch, kind):
    model = kind(make_model().config).eval()
    model.config.return_dict = False
    assert isinstance(model(**batch), tuple)
    assert isinstance(model.thex_bert(**batch), tuple)
    assert isinstance(model(**batch, return_dict=True), dict)


def test_a_pipeline_does_not_care_what_the_configuration_wants():
    folder = thex_hf.bundled_checkpoint("the-x")
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, return_dict=False, output_attentions=True, output_hidden_states=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pipe = pipeline("thex-text-classification", model=model, tokenizer=tokenizer)
    assert pipe("a good film", fhe="disable")[0]["label"] == "POSITIVE"


def test_positions_are_those_that_are_given(make_model, batch):
    model = make_model()
    usual = torch.arange(8).expand(2, 8)
    torch.testing.assert_close(model(**batch, position_ids=usual).logits, model(**batch).logits)
    moved = model(**batch, position_ids=usual + 3).logits
    assert not torch.allclose(moved, model(**batch).logits)
    with pytest.raises(OptionError, match="position_ids with inputs_embeds"):
        model(inputs_embeds=model.embed(batch["input_ids"]), position_ids=usual)


@pytest.mark.parametrize(
    "given",
    [
        {"head_mask": torch.ones(2, 4)},
        {"use_cache": True},
        {"past_key_values": ((torch.ones(1),),)},
        {"encoder_hidden_states": torch.ones(2, 8, 32)},
        {"misspelt": 3},
    ],
)
def test_what_cannot_be_honoured_is_refused(make_model, batch, given):
    model = make_model()
    with pytest.raises(OptionError, match=next(iter(given))):
        model(**batch, **given)
    with pytest.raises(OptionError, match=next(iter(given))):
        model.thex_bert(**batch, **given)
    model(**batch, head_mask=None, use_cache=False)


def test_a_mask_of_another_shape_is_refused(make_model, batch):
    model = make_model()
    with pytest.raises(InputError, match=r"shape \(2, 8\).*got \(2, 1, 1, 8\)"):
        model(batch["input_ids"], batch["attention_mask"][:, None, None])


@pytest.mark.parametrize("name", ["sdpa", "flash_attention_2", "flex_attention", "other"])
def test_no_kernel_knows_our_attention(make_model, tmp_path, name):
    make_model().save_pretrained(tmp_path)
    model = ThexBertForSequenceClassification.from_pretrained(tmp_path, attn_implementation="eager")
    with pytest.raises(OptionError, match=f"attn_implementation should be 'eager'.*{name}"):
        ThexBertForSequenceClassification.from_pretrained(tmp_path, attn_implementation=name)
    with pytest.raises(OptionError, match=name):
        model.set_attn_implementation(name)


def test_weights_are_float32_unless_another_type_is_named(make_model, tmp_path):
    make_model().half().save_pretrained(tmp_path)
    load = ThexBertForSequenceClassification.from_pretrained
    assert load(tmp_path).dtype == load(tmp_path, dtype="auto").dtype == torch.float32
    assert load(tmp_path, dtype=torch.float16).dtype == torch.float16


@pytest.mark.parametrize("reentrant", [False, True])
@KINDS
def test_gradient_checkpointing_changes_no_gradient(make_model, batch, kind, reentrant):
    config = make_model(activation="quadratic", softmax="power").config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    labels = batch["input_ids"] % 2 if kind.every_token else torch.tensor([0, 1])
    found, calls = [], []
    for wanted in (False, True):
        torch.manual_seed(0)
        model = kind(config).train()
        if wanted:
            enable = getattr(model, "activation_checkpointing_enable", None)
            enable = enable or model.gradient_checkpointing_enable
            enable({"use_reentrant": reentrant})
            layer = model.thex_bert.layers[0].attention
            layer.register_forward_hook(lambda *_: calls.append(1))
        model(**batch, labels=labels).loss.backward()
        found.append([parameter.grad for parameter in model.parameters()])
        if wanted:
            assert len(calls) == 2  # once forward, and again for the gradient
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


def test_accumulated_gradients_are_a_mean(make_model, batch, tmp_path):
    """A Trainer that took our loss for a sum would take steps as many times too long."""
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": label}
        for ids, mask, label in zip(
            batch["input_ids"], batch["attention_mask"], (0, 1), strict=True
        )
    ]
    found = []
    for size, steps in ((2, 1), (1, 2)):
        model = make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        arguments = TrainingArguments(
            str(tmp_path), max_steps=1, optim="sgd", learning_rate=0.1, max_grad_norm=0.0,
            report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, **options,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=rows).train()
        found.append(model.classifier.weight.detach())
    torch.testing.assert_close(*found)
