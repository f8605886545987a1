"""Every example in the folder runs to its end with fast options."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
FAST = {
    "convert_tiny": ["--epochs", "2"],
    "classify": ["a fine film"],
    "bank_intents": ["--epochs", "4", "--effort", "0.01", "My card was stolen"],
    "clinical_notes": [
        *("--epochs", "6", "--effort", "0.01", "Chest pain since an hour, sweating."),
        "Flu vaccine was given last autumn, feels well, asks for a travel vaccine. " * 3,
    ],
    "demo_app": ["--check"],
    "redact_names": ["--epochs", "8", "--effort", "0.08", "Mr Evans moved from Delhi to Ghana."],
    "two_machines": ["a fine film"],
}
NEEDS = {"demo_app": "gradio"}
LONG = {
    "bank_intents",
    "clinical_notes",
    "convert_tiny",
    "redact_names",
    "score_data_set",
    "two_machines",
}
"""They train a model or start a server."""
EXPECTED = {
    "bank_intents": r"accuracy on 90 held-out messages: (?s:.*), [789]\d\.\d % converted"
    r"(?s:.*)same intent as in clear: True",
    "classify": "POSITIVE",
    "clinical_notes": r"accuracy on 28 held-out notes: (?s:.*)same label: True(?s:.*)its windows: "
    r"\w+, \w+; the most(?s:.*) \d+ requests, padded length 32, 32\n(?s:.*)nothing was",
    "convert_tiny": "accuracy: ",
    "demo_app": r"protocols: \['refresh', 'one-shot', 'client-aided', 'prepared'\]",
    "own_engine": r"client-aided(?s:.*): the same\nrefresh(?s:.*): the same\n",
    "redact_names": r"on 100 held-out sentences: (?s:.*)[5-9]\d\.\d% of the words of names would"
    r"(?s:.*)\[(person|place)\](?s:.*)same tags as in clear: True\n(?s:.*)nothing was",
    "score_data_set": r"clear +40 +0\.[89](?s:.*)simulated +40 +0\.[89]\d+ +0\.\d+ +100%",
    "two_machines": r"POSITIVE  a fine film\n  4 rounds(?s:.*)'/predict', 'status': 200",
    "two_roles": r"server folder: \['evaluation\.",
}
"""Patterns to be found in what an example prints."""
GALLERY = FOLDER.parent / "docs" / "gallery.md"
SHOWN = re.compile(r"^python examples/(\w+)\.py(.*)$", re.MULTILINE)
ENCRYPTED = {
    "classify": ["a fine film", "--fhe", "execute"],
    "score_data_set": ["--fhe", "execute", "--encrypted", "2"],
    "two_roles": ["--backend", "seal"],
}


def run(path: Path, argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem])
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    module.main(argv)
    return capsys.readouterr().out


def test_there_are_examples():
    assert {path.stem for path in EXAMPLES} == set(EXPECTED)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in LONG else [])
        for path in EXAMPLES
    ],
)
def test_example_runs(path, capsys):
    out = run(path, FAST.get(path.stem, []), capsys)
    assert re.search(EXPECTED[path.stem], out), out


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCRYPTED)
def test_example_runs_on_ciphertexts(name, capsys):
    out = run(FOLDER / f"{name}.py", ENCRYPTED[name], capsys)
    assert re.search(EXPECTED[name], out), out


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_says_what_it_takes(path):
    head = path.read_text(encoding="utf-8").split('"""')[1]
    assert " s " in head
    assert "GB" in head


def test_the_gallery_shows_programs_and_options_that_there_are():
    shown = dict(SHOWN.findall(GALLERY.read_text(encoding="utf-8")))
    assert {"bank_intents", "clinical_notes", "redact_names"} <= set(shown) <= set(EXPECTED)
    for stem, options in shown.items():
        program = (FOLDER / f"{stem}.py").read_text(encoding="utf-8")
        assert [flag for flag in re.findall(r"--\w+", options) if f'"{flag}"' not in program] == []
