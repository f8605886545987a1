"""What the command prints and takes, whatever the terminal."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from thex_hf.cli.main import commands
from thex_hf.cli.options import check_arguments
from thex_hf.errors import InputError

COMMAND = [sys.executable, "-c", "from thex_hf.cli.main import app; app()"]
NAMES = (
    "backend", "backend install", "backend remove", "calibrate", "card", "classify", "client-half",
    "convert", "demo", "endpoint-handler", "estimate", "evaluate", "info", "plot", "prepare",
    "serve",
)  # fmt: skip


def run(*arguments, **environ):
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environ},
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_help_and_misspelt_options(name):
    shown = CliRunner().invoke(commands, [*name.split(), "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.stdout
    wrong = CliRunner().invoke(commands, [*name.split(), "--jsn"])
    assert wrong.exit_code == 2
    assert "No such option: --jsn" in wrong.stderr


def test_every_command_is_tried_above():
    listed = {
        command.callback.__name__.replace("_", "-") for command in commands.registered_commands
    }
    assert listed | {"backend"} == {name.split()[0] for name in NAMES}


def test_brackets_are_shown():
    shown = CliRunner().invoke(commands, ["evaluate", "--help"]).stdout
    assert "pip install 'thex_hf[evaluate]'" in shown


@pytest.mark.slow
def test_a_console_that_cannot_show_a_character():
    done = run("classify", "--fhe", "disable", "caf\u00e9 \u6f22", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert "caf\u00e9 \\u6f22".encode("latin-1") in done.stdout


def test_arguments_that_are_no_text():
    with pytest.raises(InputError, match=r"argument 2 \('caf\\\\udce9'\) is not UTF-8"):
        check_arguments(["classify", "caf\udce9"])
    done = run("classify", b"caf\xe9")
    assert done.returncode == 1
    assert done.stderr.startswith(b"thex-hf: InputError: argument 2 ")
    assert b"Traceback" not in done.stderr
