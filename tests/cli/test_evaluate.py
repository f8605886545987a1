import json
import sys

import pytest
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.errors import BackendUnavailable, ConversionError, InputError, OptionError

ROWS = [(1, "a warm and funny film"), (0, "a dull mess"), (1, "great fun"), (1, "bleak and sad")]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "dev.tsv"
    path.write_text("label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in ROWS))
    return str(path)


def run(*arguments):
    return CliRunner().invoke(commands, ["evaluate", *map(str, arguments)])


def record(result):
    assert result.exit_code == 0, result.exception
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("{")]
    return json.loads(line)


def test_json(data):
    found = record(run("--data", data, "--fhe", "disable", "--metric", "mrpc", "--json"))
    # three of four right; of class 1: 2 of 2 said, 2 of 3 there
    assert found["metrics"] == pytest.approx({"accuracy": 0.75, "f1": 0.8})
    assert (found["data"], found["texts"], found["model"]) == (
        data,
        4,
        thex_hf.bundled_checkpoint(),
    )
    assert {"processor", "cores", "python", "packages"} <= set(found["machine"])
    assert found["clear_metrics"] is None


def test_limit_and_protocol(data):
    found = record(
        run("--data", data, "--limit", 2, "--protocol", "refresh", "--batch-size", 2, "--json")
    )
    assert (found["texts"], found["texts_in_data"]) == (2, 4)
    assert (found["thex"]["protocol"], found["thex"]["fhe"]) == ("refresh", "simulate")
    assert found["agreement"] == 1.0
    assert 0 < found["max_logit_difference"] < 0.05
    assert found["clear_metrics"] == found["metrics"]


def test_windows(data):
    options = ("--data", data, "--fhe", "disable", "--window", 4, "--stride", 1, "--pool", "max")
    found = record(run(*options, "--json"))
    assert found["thex"]["windows"] == 4 + 2 + 1 + 2
    assert "4 of 4 texts in 9 windows, disable" in run(*options).stdout
    assert "--pool goes with --window" in str(run("--data", data, "--pool", "max").exception)


@pytest.mark.slow
def test_ciphertexts_and_keys(data, tmp_path):
    keys = tmp_path / "keys"
    result = run(
        thex_hf.bundled_checkpoint("the-x"), "--data", data, "--fhe", "execute", "--limit", 1,
        "--keys", keys, "--processes", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.exception
    lines = result.stdout.splitlines()
    assert lines[0].endswith("1 of 4 texts, execute, client-aided")
    assert [line.split()[:3] for line in lines if line.startswith("accuracy")] == [
        ["accuracy", "1.0000", "1.0000"]
    ]
    assert any(line.startswith("agreement with clear") and "1.0000" in line for line in lines)
    assert any(line.startswith("bytes: keys") and "6 rounds" in line for line in lines)
    assert any(keys.iterdir())


def test_one_class(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": "POSITIVE"}) + "\n" for _, t in ROWS))
    found = record(run("--data", path, "--fhe", "disable", "--metric", "cola", "--json"))
    assert found["metrics"] == {"matthews_correlation": 0.0}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", ConversionError, "no rows"),
        ("text\nx\n", ConversionError, "column named label"),
        ("label\ttext\n3\tx\n", ConversionError, "NEGATIVE, POSITIVE"),
        ("tokens\ttags\na b\tO O\n", ConversionError, "NEGATIVE, POSITIVE"),
        ("labels\ttext\nPOSITIVE|NEGATIVE\tx\n", InputError, "the labels of the data are multi"),
        ("label\ttext\n1\t \n", InputError, "row 1 has an empty text"),
    ],
)
def test_data_that_cannot_be_used(text, error, words, tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text(text)
    result = run("--data", path, "--fhe", "disable")
    assert isinstance(result.exception, error), result.exception
    assert words in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--metric", "acuracy"], OptionError, "did you mean 'accuracy'"),
        (["--metric", "pearsonr"], OptionError, "scores numbers"),
        (["--fhe", "encrypt"], OptionError, "fhe must be one of"),
        (["--protocol", "refrsh"], OptionError, "did you mean 'refresh'"),
        (["no/such-model"], ConversionError, "no/such-model"),
    ],
)
def test_options_that_are_not_on_offer(arguments, error, words, data):
    result = run(*arguments, "--data", data)
    assert isinstance(result.exception, error), result.exception
    assert words in str(result.exception)


def test_data_are_needed():
    assert "--data FILE" in str(run().exception)


def test_a_missing_extra_is_named(data, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("thex_hf.evaluation")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "evaluate", None)
    result = run("--data", data)
    assert isinstance(result.exception, BackendUnavailable)
    assert "pip install 'thex_hf[evaluate]'" in str(result.exception)
