"""The optional shim: a model that loads without ``import thex_hf``, and all the same with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import pipeline

import thex_hf
from thex_hf.modeling.hub import HEADS, drop_remote_code, write_remote_code

ROOT = Path(__file__).parents[2]
TEXT = "A dull film."
SHIM_FIELDS = {"auto_map", "custom_pipelines"}
CHECK = f"""
print(type(classify).__name__, type(classify.model).__module__, classify.task)
found = classify({TEXT!r}, fhe="simulate")
assert found[0]["label"] == "NEGATIVE", found
classify.save_pretrained("again")
import json, os
config = json.load(open("again/config.json"))
assert not set(config) & {{"auto_map", "custom_pipelines"}}, config
assert not [name for name in os.listdir("again") if name.endswith(".py")], os.listdir("again")
"""
WITHOUT = """
import sys
from transformers import pipeline
assert "thex_hf" not in sys.modules
classify = pipeline(model="shimmed", trust_remote_code=True)
"""
UNTRUSTED = """
from transformers import pipeline
try:
    pipeline(model="shimmed", trust_remote_code=False)
except ValueError as error:
    print("refused:", "trust_remote_code" in str(error))

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "thex_hf":
            raise ModuleNotFoundError("No module named 'thex_hf'", name=name)

import sys
sys.meta_path.insert(0, Absent())
pipeline(model="shimmed", trust_remote_code=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "shimmed"
    classify = pipeline("thex-text-classification", model=thex_hf.bundled_checkpoint("the-x"))
    classify.save_pretrained(place, include_remote_code=True)
    return place


def run(code, folder, home):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_it_loads_without_our_import_and_a_later_save_leaves_no_shim_behind(folder, tmp_path):
    done = run(WITHOUT + CHECK, folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-3:] == [
        "ThexTextClassificationPipeline",
        "thex_hf.modeling.modeling_thex_bert",
        "thex-text-classification-remote",
    ]


def test_with_our_import_nobody_is_asked_to_trust(folder, tmp_path):
    classify = pipeline("thex-text-classification", model=str(folder))
    assert type(classify) is thex_hf.ThexTextClassificationPipeline
    assert classify(TEXT, fhe="disable")[0]["label"] == "NEGATIVE"
    classify.save_pretrained(tmp_path)
    assert not set(json.loads((tmp_path / "config.json").read_text())) & SHIM_FIELDS
    assert not list(tmp_path.glob("*.py"))


@pytest.mark.slow
def test_without_trust_or_without_the_package_it_does_not_load(folder, tmp_path):
    done = run(UNTRUSTED, folder, tmp_path)
    assert done.stdout.splitlines()[-1] == "refused: True", done.stderr
    assert done.returncode != 0
    assert "pip install thex_hf" in done.stderr


def test_the_shim_names_installed_classes_only(folder):
    text = (folder / "thex_remote.py").read_text()
    space: dict[str, object] = {}
    exec(text, space)
    assert space["ThexBertForSequenceClassification"] is thex_hf.ThexBertForSequenceClassification
    config = json.loads((folder / "config.json").read_text())
    assert set(config["custom_pipelines"]) == {"thex-text-classification-remote"}
    for head in HEADS.values():
        assert not head.pipeline or hasattr(thex_hf, head.pipeline)


def test_what_is_not_ours_stays(tmp_path):
    for name in HEADS:
        place = tmp_path / name
        place.mkdir()
        start = {"a": 1, "auto_map": {"AutoConfig": "mine.Config"}}
        (place / "config.json").write_text(json.dumps(start))
        (place / "thex_remote.py").write_text("mine = 1\n")
        drop_remote_code(place)
        assert json.loads((place / "config.json").read_text()) == start
        assert (place / "thex_remote.py").exists()
        write_remote_code(place, name)
        config = json.loads((place / "config.json").read_text())
        assert f"thex_remote.{name}" in config["auto_map"].values()
        for key, value in config["auto_map"].items():  # as transformers writes a Hub name
            config["auto_map"][key] = f"org/name--{value}"
        (place / "config.json").write_text(json.dumps(config))
        drop_remote_code(place)
        assert json.loads((place / "config.json").read_text()) == {"a": 1}
        assert not (place / "thex_remote.py").exists()
