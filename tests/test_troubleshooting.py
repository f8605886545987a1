"""docs/troubleshooting.md quotes messages that the code raises, each under a heading of its own."""

import re
from pathlib import Path

import pytest
from troubles import TROUBLES

from thex_hf.errors import ThexError

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
ENTRY = re.compile(r"^### (.+)\n\n```text\n([^`]+)\n```$", re.MULTILINE)
QUOTED = {
    heading: " ".join(message.split())
    for heading, message in ENTRY.findall(PAGE.read_text(encoding="utf-8"))
}


def as_on_the_page(message):
    """On one line, without what differs between machines: a free port, a number, a home."""
    message = " ".join(message.split())
    message = re.sub(r"http://127\.0\.0\.1:\d+", "http://localhost:8000", message)
    message = re.sub(r"\[Errno \d+\]", "[Errno 111]", message)
    return message.replace("thex-home/", "~/.cache/thex_hf/")


def test_every_heading_has_a_message_and_a_test():
    assert re.findall(r"^### (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == [*QUOTED]
    assert set(QUOTED) == set(TROUBLES)
    assert len(QUOTED) >= 30


@pytest.mark.parametrize("heading", QUOTED)
def test_the_message_is_the_true_one(heading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THEX_HF_HOME", "thex-home")
    with pytest.raises((ThexError, ImportError)) as raised:
        TROUBLES[heading]()
    message = f"{type(raised.value).__name__}: {raised.value}"
    assert as_on_the_page(message) == QUOTED[heading]
