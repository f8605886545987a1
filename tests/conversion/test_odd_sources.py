"""Sources that are odd in one way: served where that can be, else refused with the field's name."""

import json
from pathlib import Path

import pytest
import torch
from conversion_words import BAD, GOOD
from source_models import make_tokenizer, save_source
from transformers import BertTokenizerFast, pipeline

from thex_hf import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.conversion import convert, options_from
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.errors import ConversionError, DivergenceError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change_config(**changes):
    path = Path("source/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def texts(names=("LABEL_0", "LABEL_1"), words=("good film", "bad film"), pairs=None, labels=(1, 0)):
    many = 10
    second = None if pairs is None else pairs * many
    return LabelledTexts(words * many, second, labels * many, names)


def run(data=None, form="the-x", **options):
    data = data or texts()
    chosen = options_from(form=form, effort=0.0, **options)
    return convert("source", "out", train=data, dev=data, options=chosen)


def saved():
    return json.loads(Path("out/config.json").read_text())


def test_label2id_may_be_missing(here):
    save_source("source", num_labels=2)
    change_config(id2label={"0": "NEG", "1": "POS"}, label2id=None)
    run(texts(("NEG", "POS")))
    assert saved()["label2id"] == {"NEG": 0, "POS": 1}


def test_label2id_of_other_names_gives_way(here):
    save_source("source", num_labels=2)
    change_config(id2label={"0": "NEG", "1": "POS"}, label2id={"LABEL_0": 0, "LABEL_1": 1})
    run(texts(("NEG", "POS")))
    assert saved()["label2id"] == {"NEG": 0, "POS": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id2label": {"1": "NEG", "2": "POS"}}, "should name the labels 0 to 1"),
        ({"id2label": {"0": "NEG", "2": "POS"}}, "should name the labels 0 to 1"),
        ({"id2label": {"zero": "NEG", "one": "POS"}}, "map numbers to names"),
        ({"id2label": ["NEG", "POS"]}, "map numbers to names"),
        ({"id2label": {"0": "A", "1": "A"}}, "a name of its own"),
        ({"id2label": {"0": None, "1": "A"}}, "a name of its own"),
        ({"id2label": {"0": "A", "1": "B"}, "label2id": {"A": 1, "B": 0}}, "contradict each other"),
        ({"id2label": {"0": "A", "1": "B", "2": "C"}}, "is id2label as long as the classifier"),
        ({"problem_type": "foo"}, "problem_type .*'foo'"),
        ({"problem_type": "regression"}, "predicts 2 numbers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers -1"),
        ({"hidden_act": "swish9"}, "hidden_act 'swish9'"),
        ({"num_attention_heads": 3}, "cannot be loaded"),
        ({"hidden_size": "many"}, "cannot be loaded"),
    ],
)
def test_fields_that_cannot_be_followed_are_named(here, fields, message):
    save_source("source", num_labels=2)
    change_config(**fields)
    with pytest.raises(ConversionError, match=message):
        run()
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"", b"[1]", b"{", b"3", "{'ä'}".encode("latin1")]
)
def test_a_config_that_is_no_json_object(here, content):
    save_source("source")
    Path("source/config.json").write_bytes(content)
    with pytest.raises(ConversionError, match=r"JSON"):
        run()


def test_a_folder_without_config(here):
    Path("source").mkdir()
    with pytest.raises(ConversionError, match=r"has no config\.json"):
        run()


@pytest.mark.parametrize("kind", ["roberta", pytest.param("distilbert", marks=pytest.mark.slow)])
def test_segments_of_a_model_that_has_one_kind(here, kind):
    """The tokenizer numbers the texts of a pair 0 and 1; the model has a row for 0 at most."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    Path("vocab.txt").write_text("\n".join(special + GOOD + BAD + ["a", "film"]))
    save_source("source", kind, num_labels=2)
    BertTokenizerFast("vocab.txt").save_pretrained("source")
    report = run(texts(pairs=("a film", "a film")))
    assert report.dev_texts == 20
    assert saved()["type_vocab_size"] == 1


def test_tokens_that_the_model_has_no_row_for(here):
    save_source("source", vocab_size=15, num_labels=2)
    with pytest.raises(ConversionError, match="do not belong together"):
        run()


@pytest.mark.parametrize(
    "positions", [8, *(pytest.param(n, marks=pytest.mark.slow) for n in (30, 33))]
)
def test_few_positions_cut_the_texts(here, positions):
    save_source("source", max_position_embeddings=positions, num_labels=2)
    run(texts(words=("good " * 50, "bad " * 50)))
    assert saved()["max_position_embeddings"] == positions


@pytest.mark.parametrize(("kind", "positions"), [("bert", 2), ("roberta", 4), ("roberta", 2)])
def test_positions_for_no_text_at_all(here, kind, positions):
    save_source("source", kind, max_position_embeddings=positions, num_labels=2)
    with pytest.raises(ConversionError, match="needs at least 3 tokens"):
        run()


def test_a_layer_norm_that_lets_nothing_through(here):
    model = save_source("source", num_labels=2)
    norm = model.bert.encoder.layer[1].attention.output.LayerNorm
    torch.nn.init.zeros_(norm.weight)
    model.save_pretrained("source")
    with pytest.raises(ConversionError, match=r"layer\.1\.attention.*zeros only"):
        run()


@pytest.mark.parametrize("form", ["the-x", pytest.param("polynomial", marks=pytest.mark.slow)])
def test_a_feature_whose_gamma_is_zero_is_served(here, form):
    model = save_source("source", num_labels=2, initializer_range=0.02)
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.attention.output.LayerNorm.weight[3] = 0.0
            layer.output.LayerNorm.weight[5] = 0.0
    model.save_pretrained("source")
    run(form=form)
    answer = pipeline("thex-text-classification", model="out", tokenizer="out")
    answer("good film", fhe="simulate", agreement=True)
    assert answer.report.agreement.same_label


@pytest.mark.parametrize("form", [pytest.param("the-x", marks=pytest.mark.slow), "polynomial"])
def test_a_regression_says_that_it_is_one(here, form):
    save_source("source", num_labels=1)
    assert "problem_type" not in json.loads(Path("source/config.json").read_text())
    run(texts(None, labels=(2.5, 0.5)), form)
    assert saved()["problem_type"] == "regression"
    model = ThexBertForSequenceClassification.from_pretrained("out").eval()
    tokenizer = make_tokenizer()
    number = model(**tokenizer("good film", return_tensors="pt")).logits.item()
    for task in ("text-classification", "thex-text-classification"):
        options = {} if task == "text-classification" else {"fhe": "disable"}
        found = pipeline(task, model=model, tokenizer=tokenizer)("good film", **options)
        assert found[0]["score"] == pytest.approx(number, abs=1e-5)


def test_an_older_regression_without_problem_type_is_one(here):
    assert ThexBertConfig(num_labels=1).problem_type == "regression"
    assert ThexBertConfig(num_labels=1, problem_type="multi_label_classification").problem_type == (
        "multi_label_classification"
    )
    assert ThexBertConfig(num_labels=2).problem_type is None


def test_what_no_protocol_can_run_is_not_saved(here):
    """Random weights this large give values of 2**30 where the last prime has room for 2**11."""
    save_source("source", num_labels=2, initializer_range=1.0)
    with pytest.raises(DivergenceError, match=r"client-aided: .*Nothing was saved"):
        run()
    assert not Path("out").exists()
    kept = {path.stem for path in Path("out.partial").glob("*.safetensors")}
    assert "affine" in kept
    assert "converted" not in kept
