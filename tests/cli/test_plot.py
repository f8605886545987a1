import json
import sys
from pathlib import Path

import pytest
from source_models import make_tokenizer, save_source
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.cli.plot import READERS, TAKES
from thex_hf.errors import BackendUnavailable, ConversionError, InputError, OptionError
from thex_hf.reports.plots import KINDS

RESULTS = str(Path(__file__).parents[2] / "benchmarks" / "results" / "protocols.json")
PNG, PDF = b"\x89PNG", b"%PDF"


def run(*arguments, **options):
    return CliRunner().invoke(commands, ["plot", *map(str, arguments)], **options)


def records(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.tsv"
    path.write_text("label\ttext\n1\ta good film\n0\ta dull film\n1\tthe plot\n")
    return path


@pytest.mark.parametrize(
    ("arguments", "ending", "begins"),
    [
        (["cost", "--tokens", "10"], "png", PNG),
        (["levels", "--protocol", "refresh", "--tokens", "10"], "pdf", PDF),
        (["stages", "--protocol", "one-shot"], "png", PNG),
        (["protocols", "--data", RESULTS, "--tokens", "30"], "svg", b"<?xml"),
    ],
)
def test_each_kind_writes_a_file(tmp_path, arguments, ending, begins):
    place = tmp_path / f"figure.{ending}"
    result = run(*arguments, "--out", place)
    assert result.exit_code == 0, result.exception
    assert result.stdout.strip().endswith(f"wrote {place}")
    assert place.read_bytes().startswith(begins)


def test_every_kind_of_figure_has_options_and_a_reader():
    assert tuple(TAKES) == tuple(READERS) == KINDS


def test_json_has_the_numbers_of_the_plan():
    (row,) = records(run("cost", "--protocol", "client-aided", "--tokens", "10", "--json"))
    assert (row["figure"], row["model"], row["tokens"]) == ("cost", "thex-tiny-sst2", 16)
    assert row["totals"]["rotations"] + row["totals"]["relinearisations"] == 508
    (row,) = records(run("levels", "--protocol", "one-shot", "--tokens", "10", "--json"))
    assert row["model"] == "thex-tiny-sst2-poly"
    assert row["levels"] == 12


def test_protocols_come_from_standard_input_and_are_picked(tmp_path):
    line = json.dumps(
        {
            "tokens": 16,
            "protocol": "refresh",
            "ring_degree": 8192,
            "server_seconds": 2.0,
            "up_bytes": 3,
            "down_bytes": 1,
            "key_bytes": 5,
        }
    )
    (row,) = records(run("protocols", "--data", "-", "--json", input=line))
    assert (row["measured"], row["client_seconds"]) == (False, None)
    rows = records(
        run("protocols", "--data", RESULTS, "--protocol", "one-shot", "--tokens", 32, "--json")
    )
    assert {(row["protocol"], row["tokens"]) for row in rows} == {("one-shot", 32)}


def test_scores_before_and_after(tmp_path, texts):
    before, after = tmp_path / "bert", tmp_path / "thex"
    save_source(before, num_labels=2)
    config = thex_hf.ThexBertConfig(
        vocab_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=20,
    )
    thex_hf.ThexBertForSequenceClassification(config).save_pretrained(after)
    make_tokenizer().save_pretrained(after)
    place = tmp_path / "scores.png"
    arguments = ("scores", after, "--source", before, "--data", texts, "--limit", 2)
    rows = records(run(*arguments, "--out", place, "--json"))
    assert [(row["model"], row["form"]) for row in rows] == [
        ("bert", "unconverted"),
        ("thex", "the-x"),
    ]
    assert [row["texts"] for row in rows] == [2, 2]
    assert rows[0]["layers"][0]["interval"] == rows[1]["layers"][0]["interval"]
    assert place.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["costs", "--json"], OptionError, "did you mean 'cost'"),
        (["cost"], OptionError, "--out FILE.png"),
        (["cost", "--out", "figure.xyz"], OptionError, r"\.png"),
        (["cost", "--out", "figure"], OptionError, r"\.svg"),
        (["cost", "--out", "no/such/folder/f.png"], OptionError, "no folder"),
        (["cost", "--data", "x.tsv", "--json"], OptionError, "--data is not for cost"),
        (["cost", "a", "b", "--json"], OptionError, "one model"),
        (["cost", "--protocol", "one", "--json"], OptionError, "protocol must be one of"),
        (["cost", "/no/such/folder", "--json"], ConversionError, "cannot load"),
        (["stages", "--tokens", "8", "--json"], OptionError, "--tokens is not for stages"),
        (["protocols", "--json"], InputError, "thex-hf estimate --json"),
        (["protocols", "m", "--data", RESULTS, "--json"], OptionError, "takes no model"),
        (["protocols", "--data", RESULTS, "--tokens", "128", "--json"], InputError, "no costs"),
        (["protocols", "--data", "no.jsonl", "--json"], InputError, "cannot be read"),
        (["scores", "--json"], InputError, "--data FILE"),
        (["norms", "--json"], InputError, "thex-tiny-sst2-poly is of the polynomial form"),
        (["norms", "--tokens", "8", "--json"], OptionError, "which takes none of these"),
        (["scores", "--data", "no.tsv", "--json"], ConversionError, "no data file"),
    ],
)
def test_errors_are_ours(arguments, error, words):
    result = run(*arguments)
    assert isinstance(result.exception, error), result.exception
    with pytest.raises(error, match=words):
        raise result.exception


def test_a_folder_without_a_report_says_what_is_missing(tmp_path):
    result = run("stages", tmp_path, "--json")
    assert isinstance(result.exception, ConversionError)
    assert "conversion.json" in str(result.exception)


def test_without_matplotlib_numbers_can_be_had_and_figures_say_how(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert records(run("stages", "--json"))
    result = run("stages", "--out", tmp_path / "stages.png")
    assert isinstance(result.exception, BackendUnavailable)
    assert "pip install 'thex_hf[plots]'" in str(result.exception)
