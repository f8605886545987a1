"""The committed figures of the documentation are small, and each is on a page with words."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
IMAGE = re.compile(r"!\[([^\]]+)\]\(images/([^)]+)\)")


def test_every_image_is_small_and_described_on_a_page():
    words = {
        name: text
        for page in DOCS.glob("*.md")
        for text, name in IMAGE.findall(page.read_text(encoding="utf-8"))
    }
    images = {path.name: path.stat().st_size for path in (DOCS / "images").iterdir()}
    assert set(words) == set(images)
    assert max(images.values()) <= 120_000
    assert min(len(text) for text in words.values()) > 40
