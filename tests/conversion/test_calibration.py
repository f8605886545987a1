"""``thex_hf.calibrate`` and ``thex-hf calibrate``: new ranges for weights that changed."""

import json
import shutil

import pytest
import torch
from source_models import WORDS, make_tokenizer
from transformers import pipeline
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.errors import ConversionError, InputError
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)
from thex_hf.modeling.cards.measures import read_measures, write_measures
from thex_hf.modeling.export import weights_digest
from thex_hf.modeling.opening import open_model

TEXTS = ["a good film", "the plot", " ".join(WORDS * 3), "dull dull dull"]
FORMS = {"the-x": {}, "polynomial": {"activation": "quadratic", "softmax": "power"}}


def make(kind=ThexBertForSequenceClassification, **changes):
    torch.manual_seed(0)
    config = ThexBertConfig(
        vocab_size=24, hidden_size=32, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24, initializer_range=0.2, **changes,
    )  # fmt: skip
    return kind(config).eval()


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    place = tmp_path_factory.mktemp("calibrated") / "model"
    model = make()
    thex_hf.calibrate(model, TEXTS, make_tokenizer())
    model.save_pretrained(place)
    make_tokenizer().save_pretrained(place)
    return place


@pytest.fixture
def folder(calibrated, tmp_path):
    return shutil.copytree(calibrated, tmp_path / "model")


def train_on(folder):
    """Weights that are twice as large, saved where the old ones were."""
    model = open_model(folder)
    with torch.no_grad():
        for layer in model.thex_bert.layers:
            layer.up.weight.mul_(2)
    model.save_pretrained(folder)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "texts",
    [
        TEXTS,
        pytest.param([(text, "good") for text in TEXTS], marks=pytest.mark.slow),
        pytest.param([{"text": text} for text in TEXTS], marks=pytest.mark.slow),
        [{"text": text, "text_pair": "bad"} for text in TEXTS],
    ],
    ids=["texts", "pairs", "tables", "tables of pairs"],
)
def test_texts_of_every_shape(form, texts):
    model = make(**FORMS[form])
    found = thex_hf.calibrate(model, (text for text in texts), make_tokenizer())
    assert found.texts == len(TEXTS)
    assert found.ranges == model.config.ranges
    assert model.config.calibration["weights"] == found.weights
    assert found.weights == weights_digest(model, model.config)
    assert found.folder is None
    model.encoder_weights()


def test_long_texts_are_cut_to_the_models_positions():
    model = make()
    thex_hf.calibrate(model, ["good " * 100], make_tokenizer())
    assert model.config.calibration["texts"] == 1


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ([], "at least one text"),
        (["good", " "], "text 2 should be"),
        (["good", None], "text 2 should be"),
        ([("a", "b", "c")], "text 1 should be"),
        (["good", ("a", "b")], "all single or all pairs"),
        (3, "a list or a data file; got int"),
    ],
)
def test_what_is_no_text_is_refused(texts, match):
    model = make()
    with pytest.raises(InputError, match=match):
        thex_hf.calibrate(model, texts, make_tokenizer())
    assert model.config.calibration is None


def test_a_model_needs_its_tokenizer_and_must_be_converted():
    with pytest.raises(InputError, match="give the model's tokenizer"):
        thex_hf.calibrate(make(), TEXTS)
    with pytest.raises(ConversionError, match="thex-hf convert"):
        thex_hf.calibrate(torch.nn.Linear(2, 2), TEXTS, make_tokenizer())
    with pytest.raises(ConversionError, match="thex-hf convert"):
        thex_hf.calibrate(make(activation="gelu"), TEXTS, make_tokenizer())
    with pytest.raises(ConversionError, match="hf download"):
        thex_hf.calibrate("no-such/model", TEXTS)


@pytest.mark.parametrize("texts", [[["good", "film"], ["bad"]], ["good film", "bad"]])
def test_a_tagger_takes_words_or_texts(texts):
    model = make(ThexBertForTokenClassification, num_labels=3)
    assert thex_hf.calibrate(model, texts, make_tokenizer()).texts == 2
    model.encoder_weights()


def test_a_folder_is_written_in_place(folder):
    before = json.loads((folder / "config.json").read_text())
    train_on(folder)
    with pytest.raises(ConversionError, match="changed since"):
        open_model(folder).encoder_weights()
    found = thex_hf.calibrate(folder, TEXTS)
    assert found.folder == str(folder)
    after = json.loads((folder / "config.json").read_text())
    assert {k for k in after if after[k] != before[k]} == {"ranges", "calibration"}
    assert after["ranges"][0]["ffn_pre"] > 1.5 * before["ranges"][0]["ffn_pre"]
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".config")]
    pipe = pipeline("thex-text-classification", model=str(folder))
    pipe("a good film", fhe="simulate", agreement=True)
    assert pipe.report.agreement.largest_logit_difference < 0.05


def test_nothing_is_written_without_leave(folder):
    train_on(folder)
    before = (folder / "config.json").read_text()
    assert thex_hf.calibrate(folder, TEXTS, save=False).folder is None
    assert (folder / "config.json").read_text() == before


def test_measures_of_other_ranges_are_not_shown(folder):
    measures = {"costs": [], "scores": []}
    write_measures(folder, measures)
    assert read_measures(folder)
    path = folder / "measures.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k != "ranges"}
    path.write_text(json.dumps(old))  # of a version that did not say which ranges it had
    assert read_measures(folder)
    thex_hf.calibrate(folder, TEXTS)  # the same again
    assert read_measures(folder)
    thex_hf.calibrate(folder, ["a good film"])
    assert read_measures(folder) is None


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_the_command(folder, tmp_path, suffix):
    train_on(folder)
    data = tmp_path / f"texts{suffix}"
    rows = [json.dumps({"text": text, "label": n % 2}) for n, text in enumerate(TEXTS)]
    data.write_text("\n".join(TEXTS if suffix == ".txt" else rows) + "\n\n")
    result = CliRunner().invoke(commands, ["calibrate", str(folder), str(data), "--json"])
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("{")]
    found = json.loads(line)
    assert (found["texts"], found["strange"]) == (4, 2048)
    config = json.loads((folder / "config.json").read_text())
    assert config["calibration"] == {
        k: found[k] for k in ("weights", "logit", "texts", "strange", "beyond")
    }
    assert config["ranges"] == found["ranges"]
    open_model(folder).encoder_weights()
    shown = CliRunner().invoke(commands, ["calibrate", str(folder), str(data), "--limit", "2"])
    assert "layer 1: stream_in" in shown.stdout
    assert "2 texts" in shown.stdout


def test_the_command_names_a_file_that_cannot_be_read(folder, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    for name in ("bad.txt", "none.txt"):
        result = CliRunner().invoke(commands, ["calibrate", str(folder), str(tmp_path / name)])
        assert isinstance(result.exception, ConversionError)
        assert name in str(result.exception)
