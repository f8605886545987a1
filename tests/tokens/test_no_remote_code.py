"""No code that comes with a checkpoint is ever run, nor is anybody asked whether it may."""

import ast
import json
from pathlib import Path

import pytest

import thex_hf
from thex_hf.errors import ConversionError
from thex_hf.modeling.opening import open_tokenizer

PACKAGE, ROOT = Path(thex_hf.__file__).parent, Path(__file__).parents[2]
PLACES = (PACKAGE, *(ROOT / name for name in ("benchmarks", "examples", "training")))
FILES = sorted(path for place in PLACES for path in place.rglob("*.py"))
CHOSEN = {"LOADERS", "kind"}  # variables that hold such a class
HOSTILE = """
from pathlib import Path
Path("ran").write_text("")
from transformers import PreTrainedTokenizerFast
class Mine(PreTrainedTokenizerFast):
    pass
"""


def opened_by_the_library(node):
    """Calls of ``from_pretrained`` that may run what lies beside the weights."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    owner = node.func.value
    name = owner.value if isinstance(owner, ast.Subscript) else owner
    chosen = isinstance(name, ast.Name) and (name.id.startswith("Auto") or name.id in CHOSEN)
    return node.func.attr == "from_pretrained" and chosen


def refuses_remote_code(call):
    given = {word.arg: word.value for word in call.keywords}
    said = given.get("trust_remote_code")
    return isinstance(said, ast.Constant) and said.value is False


def test_every_opening_says_that_no_remote_code_is_trusted():
    calls = [
        (path, node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if opened_by_the_library(node)
    ]
    assert len(calls) > 10
    trusting = [f"{path}:{node.lineno}" for path, node in calls if not refuses_remote_code(node)]
    assert not trusting


def test_a_tokenizer_with_code_of_its_own_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    bundled = Path(thex_hf.bundled_checkpoint("the-x"))
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((bundled / name).read_bytes())
    told = json.loads((bundled / "tokenizer_config.json").read_text())
    told |= {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": [None, "mine.Mine"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "mine.py").write_text(HOSTILE)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    with pytest.raises(ConversionError, match="contains custom code"):
        open_tokenizer(folder, 30522)
    assert not (tmp_path / "ran").exists()
