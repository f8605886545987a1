"""Every test and measurement that docs/security.md names is there."""

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


def test_every_claim_has_something_that_holds_it():
    table = PAGE[PAGE.index("| claim | held by |") :].splitlines()[2:]
    assert len(table) > 25
    for row in table:
        assert re.search(r"\| .+ \| `(tests|benchmarks)/", row), row
