import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.errors import BackendUnavailable, ConversionError, InputError, OptionError

GOOD = "it 's a charming and often affecting journey ."
FIELDS = {
    "label", "score", "logits", "tokens", "bucket", "protocol", "backend", "fhe", "seconds",
    "rounds", "bytes", "levels", "key_switches", "batch", "ring_degree", "modulus_bits",
}  # fmt: skip


def run(*arguments):
    return CliRunner().invoke(commands, list(arguments))


def records(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_classify_prints_one_object_a_text():
    rows = records(run("classify", GOOD, "a dull mess", "--fhe", "simulate", "--json"))
    assert [set(row) for row in rows] == [FIELDS, FIELDS]
    assert rows[0]["label"] == "POSITIVE"
    assert len(rows[0]["logits"]) == 2


def test_classify_for_people():
    result = run("classify", GOOD, "--fhe", "simulate", "--agreement")
    assert result.exit_code == 0
    assert "POSITIVE" in result.stdout
    assert "largest logit difference" in result.stdout


def test_estimate_agrees_with_a_run():
    protocol = ("--protocol", "client-aided", "--json")
    (row,) = records(run("estimate", "--tokens", "10", *protocol))
    (real,) = records(run("classify", GOOD, *protocol))
    assert (row["tokens"], row["rounds"], row["levels"]) == (16, 6, 3)
    assert row["key_bytes"] == pytest.approx(real["bytes"]["keys"], rel=0.05)
    assert row["up_bytes"] == pytest.approx(real["bytes"]["up"], rel=0.05)
    assert row["down_bytes"] == pytest.approx(real["bytes"]["down"], rel=0.05)


@pytest.mark.slow
def test_estimate_compares_the_protocols():
    rows = records(run("estimate", "--tokens", "10", "--ring", "16384", "--json"))
    assert [row["protocol"] for row in rows] == ["refresh", "one-shot", "client-aided", "prepared"]
    assert [row["rounds"] for row in rows][1:3] == [1, 6]
    assert rows[2]["up_bytes"] < rows[1]["up_bytes"] < 10e6
    assert "the model is not" in rows[2]["learns"]
    assert "uniform" in rows[0]["learns"]
    table = run("estimate", "--tokens", "10", "--protocol", "client-aided").stdout
    assert "server s" in table.splitlines()[0]


def test_estimate_says_why_a_protocol_cannot_serve_a_model():
    result = run("estimate", thex_hf.bundled_checkpoint("the-x"), "--protocol", "one-shot")
    assert "thex-hf convert --form polynomial" in str(result.exception)


def test_a_named_model_is_never_exchanged_for_another():
    result = run(
        "classify", GOOD, "--model", thex_hf.bundled_checkpoint("the-x"), "--protocol", "refresh"
    )
    assert isinstance(result.exception, OptionError)
    assert "thex-hf convert --form polynomial" in str(result.exception)


def test_info_imports_every_backend():
    (row,) = records(run("info", "--json"))
    own = row["backends"].pop("concrete")  # its environment may be here or not
    assert own["works"] or "thex-hf backend install concrete" in own["why_not"]
    assert {name: state["works"] for name, state in row["backends"].items()} == {
        "clear": True,
        "seal": True,
    }
    assert "client-aided" in own["capabilities"]["protocols"]
    assert row["packages"]["torch"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["classify", "x", "--model", "no/where-at-all"], ConversionError),
        (["classify", "x", "--backend", "nope"], BackendUnavailable),
        (["classify", "", "--fhe", "disable"], InputError),
        (["estimate", "/no/such/folder"], ConversionError),
    ],
)
def test_errors_are_ours(arguments, error):
    result = run(*arguments)
    assert isinstance(result.exception, error), result.exception


@pytest.mark.slow
def test_the_command_prints_an_error_in_one_line():
    done = subprocess.run(
        [sys.executable, "-c", "from thex_hf.cli.main import app; app()", "classify", " "],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last == "thex-hf: InputError: the text is empty; there is nothing to classify"


def test_version():
    assert run("--version").stdout.strip() == thex_hf.__version__
