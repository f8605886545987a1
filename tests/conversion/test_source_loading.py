"""Opening checkpoints: what is found in them, and what is said of those that cannot be used."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from source_models import make_source, save_source

from thex_hf.conversion.sources import load_source, start_model
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertForSequenceClassification, ThexBertForTokenClassification

HEADS = {"sequence": "ForSequenceClassification", "tokens": "ForTokenClassification"}
TEXTS = ["a good film", "the very dull plot"]


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def bert(tmp_path):
    save_source(tmp_path)
    return tmp_path


@pytest.fixture
def bare(tmp_path):
    """An encoder as sentence-transformers saves it."""
    save_source(tmp_path, ending="Model")
    (tmp_path / "1_Pooling").mkdir()
    return tmp_path


def write_pooling(folder, **modes):
    named = {f"pooling_mode_{name}": on for name, on in modes.items()}
    found = {"word_embedding_dimension": 32, **named}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(found))


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "xlm-roberta", "electra"])
@pytest.mark.parametrize("task", ["sequence", "tokens"])
def test_a_fine_tuned_model_is_loaded_as_it_is(tmp_path, kind, task):
    saved = save_source(tmp_path, kind, HEADS[task])
    source = load_source(tmp_path)
    assert (source.task, source.pooling, source.headless) == (task, "cls", False)
    assert type(source.model) is type(saved)
    assert source.model.dtype == torch.float32
    assert not source.model.training
    batch = dict(source.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    batch["labels"] = torch.zeros(2)
    assert ("token_type_ids" in source.inputs(batch)) == (kind in ("bert", "electra"))
    inputs = source.inputs(batch)
    assert "labels" not in inputs
    torch.testing.assert_close(source.model(**inputs).logits, saved(**inputs).logits)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("bert", "Model"),
        ("bert", "ForMaskedLM"),
        ("bert", "ForPreTraining"),
        ("distilbert", "ForMaskedLM"),
        ("roberta", "Model"),
        ("camembert", "ForMaskedLM"),
        ("electra", "ForPreTraining"),
    ],
)
def test_a_bare_encoder_gets_a_fresh_classifier(tmp_path, kind, ending):
    saved = save_source(tmp_path, kind, ending)
    source = load_source(tmp_path, id2label=["NO", "YES"], problem_type="regression")
    assert (source.task, source.pooling, source.headless) == ("sequence", "cls", True)
    assert isinstance(source.model, ThexBertForSequenceClassification)
    config = source.model.config
    assert (config.id2label, config.label2id) == ({0: "NO", 1: "YES"}, {"NO": 0, "YES": 1})
    assert config.problem_type == "regression"
    batch = source.tokenizer(TEXTS, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    expected = getattr(saved, saved.base_model_prefix, saved)(input_ids=ids, attention_mask=mask)
    got = source.model.thex_bert(ids, mask).last_hidden_state
    expected = expected.last_hidden_state
    torch.testing.assert_close(got[mask == 1], expected[mask == 1], rtol=1e-5, atol=1e-5)
    started = start_model(source.model, pooling=source.pooling)
    assert torch.equal(started.classifier.weight, source.model.classifier.weight)


def test_a_bare_encoder_for_tokens(bare):
    source = load_source(bare, task="tokens", num_labels=5)
    assert isinstance(source.model, ThexBertForTokenClassification)
    assert source.model.config.num_labels == 5
    assert source.pooling == "cls"


def test_a_bare_encoder_without_labels_is_refused(bare):
    with pytest.raises(ConversionError, match=r"BertModel\) has no classifier.*--fine-tune"):
        load_source(bare)


@pytest.mark.parametrize(
    ("modes", "pooling"),
    [
        ({"cls_token": False, "mean_tokens": True, "max_tokens": False}, "mean"),
        ({"cls_token": True, "mean_tokens": False}, "cls"),
    ],
)
def test_sentence_transformers_folders_tell_their_pooling(bare, modes, pooling):
    write_pooling(bare, **modes)
    source = load_source(bare, num_labels=2)
    assert (source.pooling, source.model.config.pooling) == (pooling, pooling)
    other = {"cls": "mean", "mean": "cls"}[pooling]
    assert load_source(bare, num_labels=2, pooling=other).model.config.pooling == other


def test_newer_pooling_files_and_strange_ones(bare):
    path = bare / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"embedding_dimension": 32, "pooling_mode": "mean"}))
    assert load_source(bare, num_labels=2).pooling == "mean"
    write_pooling(bare, cls_token=True, mean_tokens=True)
    with pytest.raises(ConversionError, match="cls_token, mean_tokens"):
        load_source(bare, num_labels=2)
    write_pooling(bare, max_tokens=True)
    with pytest.raises(ConversionError, match="pools by max_tokens"):
        load_source(bare, num_labels=2)
    path.write_text("{")
    with pytest.raises(ConversionError, match="no JSON"):
        load_source(bare, num_labels=2)


def test_a_classifier_for_other_labels_is_replaced(bert):
    assert not load_source(bert, num_labels=3).headless
    assert not load_source(bert, id2label=["LABEL_0", "LABEL_1", "LABEL_2"]).headless
    for wanted in ({"num_labels": 4}, {"id2label": ["LABEL_1", "LABEL_0", "LABEL_2"]}):
        source = load_source(bert, **wanted)
        assert source.headless
        assert isinstance(source.model, ThexBertForSequenceClassification)
    assert load_source(bert, task="tokens", num_labels=3).headless
    with pytest.raises(ConversionError, match="no classifier for task 'tokens'"):
        load_source(bert, task="tokens")
    with pytest.raises(ConversionError, match="name the labels 0 to 1"):
        load_source(bert, num_labels=2, id2label={0: "a", 3: "b"})


@pytest.mark.parametrize("option", [{"task": "images"}, {"pooling": "max"}])
def test_unknown_options(bert, option):
    with pytest.raises(ConversionError, match="should be"):
        load_source(bert, **option)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
        ({"model_type": "thex_bert"}, "THE-X model already"),
        ({"architectures": ["BertForQuestionAnswering"]}, "BertForQuestionAnswering"),
        ({"architectures": None}, "architectures"),
        ({"hidden_act": "silu"}, "hidden_act 'silu'"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "is_decoder"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    ],
)
def test_unsupported_models_are_refused_with_all_that_is_supported(bert, change, message):
    change_config(bert, **change)
    with pytest.raises(ConversionError, match=message) as caught:
        load_source(bert)
    if "already" not in message:
        for name in (
            "BertForTokenClassification",
            "DistilBertModel",
            "XLMRobertaForSequenceClassification",
            "ElectraForPreTraining",
            "gelu_new",
            "absolute positions",
            "safetensors",
        ):
            assert name in str(caught.value)


def test_distilbert_names_its_activation_otherwise(tmp_path):
    save_source(tmp_path, "distilbert")
    change_config(tmp_path, activation="silu")
    with pytest.raises(ConversionError, match="activation 'silu'"):
        load_source(tmp_path)


def test_adapters_are_refused(bert):
    (bert / "adapter_config.json").write_text("{}")
    with pytest.raises(ConversionError, match=r"adapter.*merge"):
        load_source(bert)


def edit_weights(folder, edit):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(bert, value):
    name = "bert.encoder.layer.1.output.dense.weight"
    edit_weights(bert, lambda tensors: tensors[name][3].fill_(value))
    with pytest.raises(ConversionError, match=f"{name}.*not finite"):
        load_source(bert)


def test_missing_and_strange_tensors_are_refused(bert):
    edit_weights(bert, lambda tensors: tensors.pop("classifier.weight"))
    with pytest.raises(ConversionError, match=r"missing: classifier\.weight"):
        load_source(bert)


def test_adapter_tensors_inside_the_layers_are_refused(bert):
    name = "bert.encoder.layer.0.output.adapter.weight"
    edit_weights(bert, lambda tensors: tensors.update({name: torch.zeros(2)}))
    with pytest.raises(ConversionError, match=f"without counterpart: {name}"):
        load_source(bert)


def test_damaged_weights_are_refused(bert):
    path = bert / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ConversionError, match="cannot be loaded"):
        load_source(bert)


def test_weights_of_another_size_are_refused(bert):
    change_config(bert, intermediate_size=64)
    with pytest.raises(ConversionError, match="cannot be loaded"):
        load_source(bert)


def test_pickled_weights_are_refused(bert):
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(ConversionError, match="Pickled"):
        load_source(bert)


def test_nothing_there(tmp_path):
    with pytest.raises(ConversionError, match="no model folder"):
        load_source(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConversionError, match="model folder or a Hub name"):
        load_source(tmp_path)


def test_a_tokenizer_is_needed(tmp_path):
    make_source("bert").save_pretrained(tmp_path)
    with pytest.raises(ConversionError, match=r"should hold a tokenizer.*save_pretrained"):
        load_source(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(bert):
    make_source("bert", vocab_size=10).save_pretrained(bert)
    with pytest.raises(ConversionError, match=r"16 tokens.*for 10"):
        load_source(bert)


def test_half_precision_is_loaded_as_single(tmp_path):
    saved = save_source(tmp_path, "distilbert")
    saved.half().save_pretrained(tmp_path)
    source = load_source(tmp_path)
    assert {p.dtype for p in source.model.parameters()} == {torch.float32}
