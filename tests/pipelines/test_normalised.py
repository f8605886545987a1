"""A model of the normalised form: which protocol runs it, and what is refused, in whose words."""

import json

import pytest
import torch
from source_models import make_tokenizer
from typer.testing import CliRunner

import thex_hf
from thex_hf.bundled import bundled_checkpoint
from thex_hf.circuits.protocols import MODEL_FORMS, PROTOCOLS, learns_of, protocols_of
from thex_hf.cli.elsewhere import Server
from thex_hf.cli.main import commands
from thex_hf.endpoint.spec import spec_of
from thex_hf.errors import ConversionError, OptionError
from thex_hf.options import RunOptions, choose_protocol
from thex_hf.pipelines.text_classification import ThexTextClassificationPipeline
from thex_hf.reports.measuring import estimated_costs
from thex_hf.reports.measuring import protocols_of as measured_protocols


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = thex_hf.ThexBertConfig(
        vocab_size=24, hidden_size=16, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32, activation="quadratic", softmax="power", norm="chebyshev",
        norm_degrees=[[4, 0], [2, 1]],
    )  # fmt: skip
    thex_hf.ThexBertForSequenceClassification(config).save_pretrained(place)
    make_tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def model(folder):
    return thex_hf.ThexBertForSequenceClassification.from_pretrained(folder).eval()


def test_protocols_of_each_form():
    assert {form: protocols_of(form) for form in MODEL_FORMS} == {
        "the-x": ("client-aided", "prepared"),
        "polynomial": ("refresh", "one-shot", "prepared"),
        "normalised": ("prepared",),
    }
    assert protocols_of("unconverted") == ()
    assert choose_protocol(None, "normalised") == "prepared"
    assert "text and model are protected" in learns_of("prepared", "normalised")


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "prepared"])
def test_another_protocol_is_refused_and_the_right_one_named(model, protocol):
    words = f"{protocol!r} needs a model of the .* normalised form; use protocol 'prepared', or"
    with pytest.raises(OptionError, match=words):
        ThexTextClassificationPipeline(model=model, tokenizer=make_tokenizer(), protocol=protocol)
    with pytest.raises(OptionError, match=words):
        spec_of(model, "keys", protocol=protocol)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"softmax": "exact"},
            "softmax is an option of models of the THE-X form, this one",
        ),
        ({"ring": 16384}, "ring is for refresh and one-shot; prepared has the one that it needs"),
        ({"flood": "strong"}, "prepared floods always"),
        ({"backend": "clear"}, "'prepared' runs on backend 'seal'"),
        ({"backend": "concrete"}, "serves the protocol client-aided only, not prepared"),
    ],
)
def test_options_of_others_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        RunOptions(**options).resolved("normalised")


def test_an_unconverted_model_is_told_no_protocol():
    with pytest.raises(OptionError, match="the unconverted form; convert the original"):
        choose_protocol("refresh", "unconverted")
    with pytest.raises(ConversionError, match="finish the conversion"):
        choose_protocol(None, "unconverted")


def test_simulated_answers_are_the_clear_models(model):
    classify = ThexTextClassificationPipeline(model=model, tokenizer=make_tokenizer())
    assert classify.protocol == "prepared"
    classify("a good film", fhe="simulate", agreement=True)
    (report,) = classify.reports
    assert report.agreement.largest_logit_difference < 5e-2
    assert report.agreement.same_label


def test_the_command_picks_the_protocol(folder):
    arguments = ["classify", "a good film", "--model", str(folder), "--fhe", "simulate", "--json"]
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["protocol"] == "prepared"


def test_costs_are_those_of_prepared_and_need_its_engine(model):
    assert measured_protocols(model) == ["prepared"]
    for options in ({"backend": "clear"}, {"ring": 8192}):
        with pytest.raises(OptionError, match="only protocol 'prepared' runs a model of the norm"):
            measured_protocols(model, **options)
    (row,) = estimated_costs(model, ["prepared"], tokens=200)
    assert (row["protocol"], row["tokens"]) == ("prepared", 256)


def test_no_such_model_is_bundled():
    with pytest.raises(OptionError, match="name the folder or Hub name"):
        bundled_checkpoint("normalised")


@pytest.mark.parametrize(
    ("info", "form"),
    [
        ({"protocol": "prepared", "form": "normalised"}, "normalised"),
        ({"protocol": "prepared", "form": "the-x"}, "the-x"),
        ({"protocol": "refresh"}, "polynomial"),  # of an earlier version
        ({}, "the-x"),
    ],
)
def test_a_server_says_its_form(monkeypatch, info, form):
    class Transport:
        def info(self):
            return info

    monkeypatch.setattr(Server, "transport", lambda self: Transport())
    assert Server("https://nowhere", None, None).form() == form


def test_the_page_shows_it_under_prepared(folder):
    pytest.importorskip("PIL.Image", reason="the page needs thex_hf[demo]")
    from thex_hf.demo.sessions import Servers, Sessions, run

    servers = Servers({"polynomial": bundled_checkpoint("polynomial"), "normalised": folder})
    assert servers.protocols == ["refresh", "one-shot", "prepared"]
    assert servers.model_for("prepared").model.config.form == "normalised"
    assert servers.model_for("refresh").model.config.form == "polynomial"
    assert Servers({"the-x": bundled_checkpoint("the-x")}).protocols == ["client-aided"]
    last = list(run(Sessions(servers).of("one"), "a good film", "prepared", "seal"))[-1]
    assert last.status == "answered", last.error
    assert abs(last.answer.logits - last.clear.logits).max() < 5e-2
