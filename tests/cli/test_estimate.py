"""``estimate``: memory, models that are not converted, and which protocol it recommends."""

import json

import pytest
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.estimate_advice import (
    BASE_BYTES,
    Machine,
    memory_of,
    needs,
    recommendation,
    seconds_of,
    with_needs,
)
from thex_hf.cli.estimate_models import converted_config, drawn_weights, subject_of
from thex_hf.cli.main import commands
from thex_hf.errors import ConversionError, OptionError

SIZES = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 50,
    "max_position_embeddings": 64,
}
GB = 10**9


def row(protocol, seconds, gigabytes, tokens=32, **others):
    return {
        "protocol": protocol, "tokens": tokens, "server_seconds": seconds, "key_bytes": 0,
        "plaintext_bytes": round(gigabytes * GB), "prepare_seconds": 10.0 * gigabytes, **others,
    }  # fmt: skip


def write(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**SIZES, **changes}))
    return path


def run(*arguments):
    return CliRunner().invoke(commands, [str(one) for one in arguments])


@pytest.mark.parametrize("whole", [True, False])
def test_an_unconverted_model_is_estimated_by_its_sizes(tmp_path, whole):
    path = write(tmp_path)
    place = path if whole else tmp_path
    arguments = ("--tokens", "16", "--protocol", "refresh", "--protocol", "client-aided", "--json")
    done = run("estimate", place, *arguments)
    assert done.exit_code == 0, done.exception
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["protocol"] for one in rows] == ["refresh", "client-aided"]
    for one in rows:
        assert one["memory_bytes"] > one["plaintext_bytes"] > 0
        assert one["bounded_seconds"] >= one["server_seconds"] > 0
    assert "not converted" in done.stderr
    assert "recommended: refresh: it protects text and model" in done.stderr
    assert "are free here" in done.stderr


def test_prepared_protects_no_model_of_the_the_x_form():
    rows = [row("client-aided", 5.0, 1), row("prepared", 0.01, 0, ticket_seconds=2.0)]
    here = Machine(50 * GB, GB)
    assert "it protects the text, not the model" in recommendation(rows, here, "the-x")
    assert "it protects text and model" in recommendation(rows, here)


def test_a_converted_model_is_taken_as_it_is():
    done = run(
        "estimate",
        thex_hf.bundled_checkpoint("the-x"),
        "--tokens",
        "16",
        "--protocol",
        "client-aided",
    )
    assert "needs" in done.stdout
    assert "not converted" not in done.stdout
    assert "recommended: client-aided: no other protocol serves this model" in done.stdout


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "t5"}, "cannot be converted"),
        ({"is_decoder": True}, "is_decoder"),
        ({"num_attention_heads": 3}, "should be a multiple"),
        ({"hidden_size": "wide"}, "config"),
    ],
)
def test_a_configuration_that_cannot_be_converted_is_refused(tmp_path, changes, match):
    with pytest.raises(ConversionError, match=match):
        subject_of(str(write(tmp_path, **changes)), "the-x")


def test_a_file_that_is_no_configuration_is_refused(tmp_path):
    for content in ("[]", "{", "no"):
        path = tmp_path / "config.json"
        path.write_text(content)
        assert isinstance(run("estimate", path).exception, ConversionError)


@pytest.mark.parametrize("form", ["the-x", "polynomial", "normalised"])
@pytest.mark.parametrize(
    ("changes", "head", "labels"),
    [
        ({}, "cls", 2),
        ({"architectures": ["BertForMaskedLM"]}, "cls", 2),
        (
            {
                "architectures": ["BertForTokenClassification"],
                "id2label": {"0": "a", "1": "b", "2": "c"},
                "label2id": {"a": 0, "b": 1, "c": 2},
            },
            "tokens",
            3,
        ),
    ],
)
def test_drawn_weights_have_the_sizes_and_the_form(form, changes, head, labels):
    config = converted_config({**SIZES, **changes}, "x", form)
    weights = drawn_weights(config)
    assert (config.form, weights.form) == (form, form)
    assert (weights.hidden, weights.heads, weights.intermediate) == (16, 2, 24)
    assert (weights.head, weights.labels, len(config.ranges)) == (head, labels, 1)


def test_degrees_of_norms_are_kept_in_the_normalised_form_alone():
    sizes = {name: value for name, value in SIZES.items() if name != "architectures"}
    own = {**sizes, "model_type": "thex_bert", "norm": "chebyshev", "norm_degrees": [[4, 0]]}
    (layer,) = drawn_weights(converted_config(own, "x", "normalised")).layers
    assert [root is None for root in layer.roots] == [False, True]
    assert layer.polynomial.centred
    assert drawn_weights(converted_config(own, "x", "polynomial")).form == "polynomial"


def test_a_form_may_be_asked_for_and_only_its_protocols_are_estimated(tmp_path):
    path = write(tmp_path, max_position_embeddings=512)
    done = run(
        "estimate", path, "--form", "normalised", "--tokens", "16", "--tokens", "500", "--json"
    )
    assert done.exit_code == 0, done.exception
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["protocol"], one["tokens"]) for one in rows] == [
        ("prepared", 16),
        ("prepared", 512),
    ]
    assert "text and model are protected" in rows[0]["learns"]
    assert "recommended: prepared: it protects text and model" in done.stderr


def test_a_model_of_the_the_x_form_has_two_protocols_and_one_takes_long_texts():
    done = run(
        "estimate",
        thex_hf.bundled_checkpoint("the-x"),
        "--tokens",
        "16",
        "--tokens",
        "200",
        "--json",
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["protocol"], one["tokens"]) for one in rows] == [
        ("client-aided", 16),
        ("prepared", 16),
        ("prepared", 256),
    ]
    assert "the model is not" in rows[1]["learns"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--form", "normalized"), "did you mean 'normalised'"),
        (("--form", "normalised"), "no model of the normalised form comes with the package"),
        (("--form", "normalised", "--protocol", "refresh"), "use protocol 'prepared'"),
        (("--form", "normalised", "--backend", "clear"), "has no protocol for models"),
        (
            (thex_hf.bundled_checkpoint("the-x"), "--form", "polynomial"),
            "converted, to the the-x form",
        ),
    ],
)
def test_forms_that_cannot_be_had_are_refused(arguments, words):
    error = run("estimate", *arguments, "--tokens", "16").exception
    assert isinstance(error, OptionError)
    assert words in str(error)


def test_our_own_models_on_the_way_are_taken_by_their_sizes(tmp_path):
    path = tmp_path / "config.json"
    sizes = {name: value for name, value in SIZES.items() if name != "architectures"}
    path.write_text(json.dumps({**sizes, "model_type": "thex_bert", "norm": "layernorm"}))
    subject = subject_of(str(tmp_path), "polynomial")
    assert subject.drawn
    assert subject.weights.hidden == 16


def test_what_does_not_fit_is_said_and_costs_seconds():
    roomy, tight, tiny = (Machine(size * GB, GB) for size in (100, 12, 1))
    wide = row("refresh", 100.0, 24)
    assert len(needs([wide], roomy)) == 1
    assert seconds_of(wide, roomy) == 100.0
    said = needs([wide], tight)
    assert len(said) == 2
    assert "6.0 GB of its encoded weights are kept" in said[1]
    assert "the other 18.0 GB are encoded anew for every text: 280 s" in said[1]
    assert "does not suffice" in needs([wide], tiny)[-1]
    assert "none" in recommendation([wide], tiny)
    (kept,) = with_needs([wide], tight)
    assert kept["memory_bytes"] == memory_of(wide) >= 24 * GB + BASE_BYTES
    assert kept["bounded_seconds"] == 280.0
    assert kept["texts_per_hour"] == pytest.approx(3600 / 280)


def test_a_full_disk_is_said():
    tickets = row("prepared", 0.01, 0, ticket_disk_bytes=2 * GB, batch_tickets=8)
    said = needs([tickets, row("one-shot", 5.0, 1, key_bytes=3 * GB)], Machine(100 * GB, 4 * GB))
    (warning,) = [line for line in said if line.startswith("warning")]
    assert "prepared" in warning
    assert "16.0 GB" in warning


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([row("client-aided", 1.0, 1), row("refresh", 3.0, 1), row("one-shot", 9.0, 1)], "refresh"),
        ([row("client-aided", 1.0, 1), row("one-shot", 9.0, 1)], "one-shot"),
        ([row("client-aided", 1.0, 1)], "client-aided"),
        # encoding anew is what decides
        ([row("refresh", 3.0, 90), row("one-shot", 9.0, 2)], "one-shot"),
        # a ticket is part of its text
        ([row("refresh", 3.0, 1), row("prepared", 0.01, 0, ticket_seconds=8.0)], "refresh"),
        ([row("refresh", 30.0, 1), row("prepared", 0.01, 0, ticket_seconds=8.0)], "prepared"),
        # lengths that all have are compared
        (
            [row("refresh", 3.0, 1), row("refresh", 99.0, 1, 128), row("one-shot", 9.0, 1)],
            "refresh",
        ),
    ],
)
def test_one_protocol_is_recommended_with_its_reason(rows, best):
    said = recommendation(rows, Machine(50 * GB, GB))
    assert said.startswith(f"recommended: {best}: ")
    assert len(said) > len(f"recommended: {best}: ") + 20


def test_a_model_that_takes_one_form_only_is_estimated_in_that_one(tmp_path):
    architectures = ["MPNetForSequenceClassification"]
    path = write(tmp_path, model_type="mpnet", architectures=architectures, pad_token_id=1)
    done = run("estimate", path, "--tokens", "16", "--json")
    assert done.exit_code == 0, done.exception
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["protocol"] for one in rows] == ["prepared"]
    for flags in (("--protocol", "refresh"), ("--form", "polynomial")):
        done = run("estimate", path, "--tokens", "16", *flags)
        assert isinstance(done.exception, ConversionError | OptionError)
        assert "normalised" in str(done.exception)
