"""Every example in the folder runs to its end with fast options."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
FAST = {
    "convert_tiny": ["--epochs", "2"],
    "classify": ["a fine film"],
    "demo_app": ["--check"],
}
NEEDS = {"demo_app": "gradio"}
EXPECTED = {
    "classify": "POSITIVE",
    "demo_app": "protocols: ['client-aided', 'refresh', 'one-shot']",
    "two_roles": "server folder: ['evaluation.",
    "convert_tiny": "accuracy: ",
    "evaluate_model": "same label as in clear: 100%",
}
ENCRYPTED = {"classify": ["a fine film", "--fhe", "execute"], "two_roles": ["--backend", "seal"]}


def run(path: Path, argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem])
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(argv)
    return capsys.readouterr().out


def test_there_are_examples():
    assert {path.stem for path in EXAMPLES} == set(EXPECTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, capsys):
    out = run(path, FAST.get(path.stem, []), capsys)
    assert EXPECTED[path.stem] in out


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCRYPTED)
def test_example_runs_on_ciphertexts(name, capsys):
    assert EXPECTED[name] in run(FOLDER / f"{name}.py", ENCRYPTED[name], capsys)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_says_what_it_takes(path):
    head = path.read_text(encoding="utf-8").split('"""')[1]
    assert " s " in head
    assert "GB" in head
