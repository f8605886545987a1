"""Names of others in a card are shown, and nothing of them acts: Markdown, HTML, YAML, Python."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import thex_hf
from thex_hf._shown import printable
from thex_hf.modeling.cards.card import (
    BEGIN,
    END,
    each_text,
    inline,
    literal,
    plain,
    target,
    write_card,
)

EVIL = (
    "x`<script>alert(1)</script>\n---\nlicense: evil\n---\n# {{7*7}} | a "
    f'{END} [c](javascript:alert(1)) ![i](x) *b* ```\n"]; import os; os.system("id") #'
)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@given(st.text() | st.text("\\\\`*[]|~$<>&\n;#"))
def test_words_in_a_line(text):
    shown = inline(text)
    assert shown.isprintable()
    assert not set(shown) & set("\\\\`*[]|~$<>")
    assert plain(shown) == printable(text)
    assert ast.literal_eval(literal(text)) == printable(text)
    assert not set(literal(text)) & set("<>`")
    assert not set(target(shown)) & set("()<> []\\\\`\n")


def test_honest_names_stay_as_they_are():
    for name in ("thex-tiny-sst2", "owner/my_model.v2", "glue/sst2", "Intel(R) Xeon(R) @ 2.1GHz"):
        assert inline(name) == name
        assert literal(name) == f'"{name}"'


def test_every_text_of_a_record_is_changed_and_nothing_else():
    record = {"a": ["b", 1, None, {"c": 2.5}], "d": True}
    assert each_text(record, str.upper) == {"A": ["B", 1, None, {"C": 2.5}], "D": True}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "model"
    shutil.copytree(thex_hf.bundled_checkpoint("polynomial"), place)
    for name in ("README.md", "measures.json"):
        (place / name).unlink(missing_ok=True)
    return place


def hostile(folder):
    """A report, measures, labels and a title whose every name is an attack."""
    report = json.loads((folder / "conversion.json").read_text())
    report |= {"source": EVIL, "metric": EVIL, "stages": {EVIL: 50.0}, "train_texts": EVIL}
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": EVIL, "1": "b"}, "label2id": {EVIL: 0, "b": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    cost = dict.fromkeys(("key_bytes", "up_bytes", "down_bytes", "server_seconds"), 1.0)
    names = ("tokens", "ring_degree", "modulus_bits", "modulus_limit", "levels", "key_switches")
    measures = {
        "date": EVIL,
        "backend": {"name": "seal", "library": EVIL},
        "machine": dict.fromkeys(("processor", "cores", "system", "python"), EVIL),
        "versions": {"thex_hf": EVIL},
        "texts": {"name": EVIL, "type": EVIL, "split": EVIL, "available": EVIL},
        "scores": [{"fhe": "disable", "metric": EVIL, "value": 0.5, "texts": EVIL}],
        "costs": [{"protocol": "refresh", "rounds": EVIL, **dict.fromkeys(names, EVIL), **cost}],
        "figures": [],
    }
    return report, measures


def test_a_card_of_hostile_names(folder):
    report, measures = hostile(folder)
    for again in (EVIL, None):  # the title of a card is read back from it
        text = Path(write_card(folder, report, measures=measures, title=again)).read_text()
        _, head, body = text.split("---\n", 2)
        fields = yaml.safe_load(head)
        assert set(fields) == {"library_name", "pipeline_tag", "tags", "model-index"}
        assert "\n" not in json.dumps(fields["model-index"], ensure_ascii=False)
        assert (body.count(BEGIN), body.count(END)) == (1, 1)
        (code,) = FENCE.findall(body)
        (name,) = [
            word.value.value
            for node in ast.walk(ast.parse(code))
            if isinstance(node, ast.Call)
            for word in node.keywords
            if word.arg == "model"
        ]
        assert name == printable(EVIL)
        prose = FENCE.sub("", body)
        for acting in ("<script", "](javascript", "\nlicense", "![i]", "*b*", "}} | a"):
            assert acting not in prose
        assert [line for line in prose.splitlines() if line.startswith("# ")] == [
            f"# {inline(EVIL)}"
        ]
        tables = [line for line in prose.splitlines() if line.startswith("| ")]
        rows = {line.count("|") for line in tables}
        assert rows <= {3, 5, 7, 8, 13}  # no name opens another cell


def test_a_figure_with_a_strange_path(folder):
    path = "figures/a) [b](javascript:c).png"
    (folder / "figures").mkdir()
    (folder / path).write_bytes(b"")
    text = Path(write_card(folder, measures={"figures": [[path, EVIL]]})).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("![")]
    assert re.fullmatch(r"!\[[^]\[]*\]\(figures/[A-Za-z0-9%._/-]+\)", line)
