"""``thex-hf prepare``: forecast, whole batches, disk, and tickets that ``classify`` then spends."""

import json
from collections import namedtuple

import pytest
from source_models import make_tokenizer
from typer.testing import CliRunner

from thex_hf.cli.main import commands
from thex_hf.errors import KeyStoreError, OptionError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.modeling_thex_bert import ThexBertForSequenceClassification

Usage = namedtuple("Usage", "total used free")


def run(*arguments):
    return CliRunner().invoke(commands, list(map(str, arguments)))


def records(result):
    assert result.exit_code == 0, (result.output, result.exception)
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model of the polynomial form with a tokenizer."""
    place, tokenizer = tmp_path_factory.mktemp("small"), make_tokenizer()
    config = ThexBertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=128, activation="quadratic",
        softmax="power", norm="affine", num_labels=2,
    )  # fmt: skip
    ThexBertForSequenceClassification(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_tickets_are_prepared_and_spent(model, tmp_path):
    (row,) = records(run("prepare", model, "--tokens", 100, "--keys", tmp_path, "--json"))
    assert (row["prepared"], row["tickets"], row["tokens"]) == (64, 64, 128)
    assert row["seconds"]["prepare"] > 0
    assert row["seconds"]["forecast"] > 0
    assert min(row["bytes"].values()) > 1000
    words = ("classify", "good " * 90, "--model", model, "--protocol", "prepared")
    (answer,) = records(run(*words, "--keys", tmp_path, "--json"))
    assert answer["tickets"] == 63
    assert answer["seconds"]["prepare"] == 0
    for name in ("prepare_up", "prepare_down"):
        assert answer["bytes"][name] == row["bytes"][name]
    told = run(*words, "--keys", tmp_path).stdout
    assert "62 tickets left" in told


def test_batches_are_whole_and_the_forecast_is_called_an_estimate(model, tmp_path, monkeypatch):
    monkeypatch.setattr("thex_hf.cli.prepare._room", lambda _: 1000)
    result = run("prepare", model, "--tickets", 65, "--tokens", 128, "--keys", tmp_path)
    assert "batches are whole: 128 tickets instead of 65, 64 a batch" in result.stdout
    assert "an estimate: " in result.stdout
    assert "of disk" in result.stdout
    assert isinstance(result.exception, KeyStoreError)
    assert "make room, prepare fewer" in str(result.exception)
    assert not list(tmp_path.rglob("rows"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --keys DIR"),
        (["--keys", "k", "--url", "http://localhost:1", "--processes", 2], "server's choice"),
        (["--keys", "k", "--token", "x"], "--backend remote"),
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(arguments, words):
    result = run("prepare", *arguments)
    assert isinstance(result.exception, OptionError)
    assert words in str(result.exception)


def test_a_model_of_the_other_form_is_refused(tmp_path):
    import thex_hf

    result = run("prepare", thex_hf.bundled_checkpoint("the-x"), "--keys", tmp_path)
    assert isinstance(result.exception, OptionError)
    assert "thex-hf convert --form polynomial" in str(result.exception)


def test_estimate_counts_tickets(model):
    arguments = ("--tokens", 128, "--protocol", "prepared")
    (row,) = records(run("estimate", model, *arguments, "--json"))
    assert row["batch_tickets"] == 64
    assert (row["rounds"], row["key_switches"], row["prepare_seconds"]) == (5, 0, 0)
    for name in ("server_seconds", "ticket_seconds", "ticket_up_bytes", "ticket_disk_bytes"):
        assert row[name] > 0
    assert "64 at a time" in run("estimate", model, *arguments).stdout
