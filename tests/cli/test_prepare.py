"""``thex-hf prepare``: forecast, whole batches, disk, and tickets that ``classify`` then spends."""

import json
from dataclasses import replace

import numpy as np
import pytest
from reference import random_polynomial_weights
from source_models import make_tokenizer
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.client.client import Answer
from thex_hf.errors import KeyStoreError, OptionError
from thex_hf.evaluation.runs import costs
from thex_hf.modeling.cards.facts import costs_note
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.modeling_thex_bert import ThexBertForSequenceClassification
from thex_hf.modeling.opening import open_model
from thex_hf.pipelines.report import Bytes, Report
from thex_hf.prepared.plan import prepared_plan
from thex_hf.protocol.prepared_costs import TicketForecast
from thex_hf.protocol.result import Result
from thex_hf.reports.measuring import estimated_costs, protocols_of


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
    (row,) = records(run("prepare", model, "--tokens", 9, "--keys", tmp_path, "--json"))
    assert (row["prepared"], row["tickets"], row["tokens"]) == (512, 512, 16)
    assert row["seconds"]["prepare"] > 0
    assert row["seconds"]["forecast"] > 0
    assert min(row["bytes"].values()) > 1000
    words = ("classify", "good film", "--model", model, "--protocol", "prepared")
    (answer,) = records(run(*words, "--keys", tmp_path, "--json"))
    assert answer["tickets"] == 511
    assert answer["seconds"]["prepare"] == 0
    for name in ("prepare_up", "prepare_down"):
        assert answer["bytes"][name] == row["bytes"][name]
    told = run(*words, "--keys", tmp_path).stdout
    assert "510 tickets left" in told


def test_batches_are_whole_and_the_forecast_is_called_an_estimate(model, tmp_path, monkeypatch):
    monkeypatch.setattr("thex_hf.cli.prepare._room", lambda _: 1000)
    result = run("prepare", model, "--tickets", 513, "--tokens", 16, "--keys", tmp_path)
    assert "batches are whole: 1024 tickets instead of 513, 512 a batch" in result.stdout
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


def test_longer_texts_have_tickets_too(model, tmp_path, monkeypatch):
    monkeypatch.setattr("thex_hf.cli.prepare._room", lambda _: 0)
    monkeypatch.setattr(
        "thex_hf.cli.prepare._forecast",
        lambda plan: TicketForecast(plan.batch.tickets, 1, (1, 1), 1, 1, 1),
    )
    result = run("prepare", model, "--tokens", 300, "--keys", tmp_path)
    assert "16 tickets for texts of up to 512 tokens" in result.stdout


def test_models_of_the_other_form_have_a_forecast_too(tmp_path, monkeypatch):
    monkeypatch.setattr("thex_hf.cli.prepare._room", lambda _: 1000)
    model = thex_hf.bundled_checkpoint("the-x")
    result = run("prepare", model, "--tokens", 16, "--keys", tmp_path)
    assert "512 tickets for texts of up to 16 tokens, an estimate: " in result.stdout
    assert isinstance(result.exception, KeyStoreError)


def test_estimate_counts_tickets(model):
    arguments = ("--tokens", 16, "--protocol", "prepared")
    (row,) = records(run("estimate", model, *arguments, "--json"))
    assert row["batch_tickets"] == 512
    assert (row["rounds"], row["key_switches"], row["prepare_seconds"]) == (5, 0, 0)
    for name in ("server_seconds", "ticket_seconds", "ticket_up_bytes", "ticket_disk_bytes"):
        assert row[name] > 0
    for name in ("server_seconds", "ticket_seconds"):
        least, most = row[f"{name}_range"]
        assert 0 < least <= row[name] <= most
    assert row["texts_per_hour"] == pytest.approx(3600 / row["bounded_seconds"])
    assert row["bounded_seconds"] >= row["server_seconds"] + row["ticket_seconds"]
    assert "512 at a time" in run("estimate", model, *arguments).stdout


def test_a_plan_without_a_circuit_is_not_drawn(model):
    result = run("plot", "levels", model, "--protocol", "prepared", "--json")
    assert isinstance(result.exception, OptionError)
    assert "no levels and stages to draw" in str(result.exception)


def test_a_model_card_tells_of_tickets(model):
    loaded = open_model(model)
    assert protocols_of(loaded) == ["refresh", "one-shot", "prepared"]
    assert protocols_of(loaded, ring=16384) == ["refresh", "one-shot"]
    (row,) = estimated_costs(loaded, ["prepared"], tokens=16)
    assert (row["batch_tickets"], row["levels"], row["rounds"]) == (512, 0, 5)
    assert "512 at a time" in costs_note({"costs": [row]})
    assert "512 at a time" not in costs_note({"costs": [{"protocol": "refresh"}]})


def test_scores_tell_of_tickets():
    ticket = Bytes(1, 2, 3, 40, 50)
    reports = [
        Report([0.0], 3, 16, "prepared", "seal", "execute", bytes=ticket, tickets=7, wraps=1)
    ]
    assert reports[0].to_json()["tickets"] == 7
    assert reports[0].to_json()["bytes"]["prepare_down"] == 50
    assert costs(reports)["bytes"]["prepare_up"] == 40
    assert costs(2 * reports)["wraps"] == 2 * reports[0].to_json()["wraps"] == 2
    others = [Report([0.0], 3, 16, "refresh", "seal", "execute")]
    assert not {"tickets", "wraps"} & {*others[0].to_json(), *costs(others)}
    assert "prepare_up" not in {**others[0].to_json()["bytes"], **costs(others)["bytes"]}


def test_a_client_without_torch_tells_of_tickets():
    plan = prepared_plan(random_polynomial_weights(layers=1, hidden=8, heads=2), 16)
    result = Result(np.zeros(2), plan, 5, 1, 2, 0.1, 0.2, prepare_seconds=3.0)
    result = replace(result, prepare_bytes_up=40, prepare_bytes_down=50, tickets_left=7, wraps=0)
    told = Answer("good", 0.5, 3, result, "prepared").to_json()
    assert (told["tickets"], told["wraps"], told["seconds"]["prepare"]) == (7, 0, 3.0)
    assert (told["bytes"]["prepare_up"], told["bytes"]["prepare_down"]) == (40, 50)
    result = replace(result, tickets_left=None)
    assert "tickets" not in Answer("good", 0.5, 3, result, "refresh").to_json()
