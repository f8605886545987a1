"""Help, completion and errors of arguments load none of the large libraries.

Told by what is in ``sys.modules`` afterwards, in a fresh interpreter; not by the time it took.
"""

import json
import os
import subprocess
import sys

import pytest
import typer

import thex_hf
from thex_hf.cli.main import commands


def below(command, *words):
    """The words of every subcommand."""
    for name, child in getattr(command, "commands", {}).items():
        yield [*words, name]
        yield from below(child, *words, name)


NAMES = list(below(typer.main.get_command(commands)))
HEAVY = (
    "datasets", "evaluate", "fastapi", "gradio", "matplotlib", "pandas", "rich", "scipy", "sympy",
    "pyarrow", "tenseal", "torch", "transformers", "uvicorn",
)  # fmt: skip
PROGRAM = f"""
import contextlib, io, json, sys
calls = json.loads(sys.argv[1])
sys.argv[0] = "thex-hf"
from thex_hf.cli.main import app
for words in calls:
    sys.argv = ["thex-hf", *words]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app()
        except SystemExit as end:
            code = end.code
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    print(json.dumps([words, code, loaded, out.getvalue(), err.getvalue()]))
"""
ERRORS = [
    (["classify"], "InputError: give at least one text"),
    (["classify", "--file", "no-such.tsv"], "InputError: 'no-such.tsv' cannot be read"),
    (["classify", "--data", "no-such.parquet"], "InputError: 'no-such.parquet' cannot be read"),
    (["classify", "--data", "no/such/set"], "InputError: 'no/such/set' is not there"),
    (["classify", "x", "--output", "x.txt"], "OptionError: --output should end in .jsonl, .csv, "),
    (["classify", "x", "--output", "no/x.csv"], "OutputError: 'no/x.csv' cannot be written"),
    (["classify", "x", "--fhe", "exec"], "fhe must be one of execute, simulate, disable"),
    (["classify", "x", "--protocol", "refesh"], "did you mean 'refresh'?"),
    (["classify", "x", "--backend", "sael"], "did you mean 'seal'?"),
    (["classify", "x", "--backend", "remote"], "--backend remote needs --url"),
    (["classify", "x", "--softmax", "none"], "softmax must be one of estimate, exact, "),
    (["classify", "x", "--relu", "none"], "relu must be one of client, server"),
    (["classify", "x", "--flood", "none"], "flood must be one of light, strong"),
    (["classify", "x", "--processes", "0"], "processes must be a whole number, 1 or more"),
    (
        ["classify", "x", "--protocol", "refresh", "--ring", "9"],
        "ring must be one of 8192, 16384, 32768, got 9",
    ),
    (["classify", "x", "--on-error", "none"], "--on-error must be raise or skip"),
    (["evaluate"], "InputError: give the labelled texts"),
    (["evaluate", "--data", "x.tsv"], "ConversionError: no data file at 'x.tsv': check the path."),
    (["evaluate", "--data", "x.tsv", "--fhe", "none"], "fhe must be one of"),
    (["estimate", "--protocol", "none"], "protocol must be one of"),
    (["estimate", "--protocol", "refresh", "--ring", "9"], "ring must be one of"),
    (["serve", "--protocol", "none"], "protocol must be one of"),
    (["serve", "--softmax", "none"], "softmax must be one of"),
    (["card", "folder", "--fhe", "none"], "fhe must be one of"),
    (["card", "folder", "--data", "x.csv"], "no data file at 'x.csv'"),
    (["calibrate", "folder", "x.jsonl.gz"], "no data file at 'x.jsonl.gz'"),
    (["convert", "a", "b", "--train", "x.tsv", "--dev", "x.tsv"], "no data file at 'x.tsv'"),
    (
        ["convert", "a", "b", "--train", "x", "--dev", "x", "--form", "none"],
        "form should be one of the-x, polynomial, normalised; got 'none'.",
    ),
    (
        ["convert", "a", "b", "--train", "x", "--dev", "x", "--recipe", "none"],
        "recipe should be one of full, as-published; got 'none'.",
    ),
    (
        ["convert", "a", "b", "--train", "x", "--dev", "x", "--form", "polynomial", "--norm", "x"],
        "norm should be one of affine, centred in polynomial form; got 'x'.",
    ),
    (
        [
            "convert",
            "a",
            "b",
            "--train",
            "x",
            "--dev",
            "x",
            "--form",
            "normalised",
            "--norm-degree",
            "3",
        ],
        "norm_degree should be one of 1, 2, 4, 8 in normalised form; got 3.",
    ),
    (
        ["convert", "a", "b", "--train", "x", "--dev", "x", "--task", "none"],
        "task should be sequence or tokens; got 'none'.",
    ),
    (["plot", "none"], "kind must be one of cost, levels, stages, protocols, scores"),
    (["plot", "cost", "--protocol", "none", "--json"], "protocol must be one of"),
    (["plot", "scores", "--data", "x.tsv", "--json"], "no data file at 'x.tsv'"),
    (["backend", "install", "none"], "name must be one of concrete"),
]
COMPLETED = [
    ("thex-hf cl", {"classify", "client-half"}),
    ("thex-hf classify --prot", {"--protocol"}),
    ("thex-hf classify --protocol ", {"client-aided", "refresh", "one-shot", "prepared"}),
    ("thex-hf classify --fhe e", {"execute"}),
    ("thex-hf classify --backend ", {"clear", "concrete", "seal", "remote"}),
    ("thex-hf estimate --ring ", {"8192", "16384", "32768"}),
    ("thex-hf evaluate --softmax est", {"estimate", "estimate-on-server"}),
    ("thex-hf convert a b --form ", {"the-x", "polynomial", "normalised"}),
    ("thex-hf convert a b --norm-degree ", {"1", "2", "4", "8"}),
    ("thex-hf plot ", {"cost", "levels", "stages", "protocols", "scores", "norms"}),
    ("thex-hf backend install ", {"concrete"}),
]


def run(*calls, **environ):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([list(words) for words in calls])],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_and_version():
    answers = run(["--version"], ["--help"], *([*name, "--help"] for name in NAMES))
    assert answers[0][3].strip() == thex_hf.__version__
    for words, code, loaded, out, _ in answers:
        assert (code, loaded) == (0, []), words
        assert out.startswith("Usage:") or words == ["--version"]


def test_misspelt_options():
    for words, code, loaded, _, err in run(*([*name, "--jsn"] for name in NAMES)):
        assert (code, loaded) == (2, []), words
        assert "No such option: --jsn" in err


def test_errors_of_arguments():
    answers = run(*(words for words, _ in ERRORS))
    for (words, message), (_, code, loaded, out, err) in zip(ERRORS, answers, strict=True):
        assert (code, loaded, out) == (1, [], ""), (words, err)
        assert message in err, words


@pytest.mark.parametrize(("line", "wanted"), COMPLETED)
def test_completion(line, wanted):
    words = line.split(" ")
    ((_, code, loaded, out, _),) = run(
        [],
        _THEX_HF_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
    )
    assert (code, loaded) == (0, [])
    assert set(out.split()) == wanted


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell):
    ((_, code, _, out, _),) = run([], _THEX_HF_COMPLETE=f"source_{shell}")
    assert code == 0
    assert "_THEX_HF_COMPLETE" in out
