"""Every test and measurement that docs/security.md names is there, and runs by default."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:tests|benchmarks)/[^`]+)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_what_holds_a_claim_is_there(name):
    path, _, test = name.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not test or re.search(rf"^def {test}\(", text, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith("tests/")])
def test_what_holds_a_claim_runs_by_default(name):
    """Neither its file nor the test itself is marked slow; some of its parameters may be."""
    path, _, test = name.partition("::")
    slow = ast.dump(ast.parse("pytest.mark.slow", mode="eval").body)
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "pytestmark":
            assert slow not in ast.dump(node.value)
        elif isinstance(node, ast.FunctionDef) and test in ("", node.name):
            assert slow not in [ast.dump(decorator) for decorator in node.decorator_list]


def test_every_claim_has_something_that_holds_it():
    table = PAGE[PAGE.index("| claim | held by |") :].splitlines()[2:]
    assert len(table) > 25
    for row in table:
        assert re.search(r"\| .+ \| `(tests|benchmarks)/", row), row
