"""The documentation builds as a site without a warning, and that fetches nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

for library in ("mkdocs", "material", "mkdocstrings_handlers.python"):
    pytest.importorskip(library, reason="pip install 'thex_hf[docs]'")

ROOT = Path(__file__).parents[1]
TAGS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
IN_STYLES = re.compile(r"(?:url\(|@import)\s*[\"']?(?!data:)([^\"')\s;]+)")


class Addresses(HTMLParser):
    """Addresses that a page fetches by itself, and those it links."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for attribute, value in attrs:
            if TAGS.get(tag) == attribute:
                self.fetched.append(value)
            elif (tag, attribute) == ("a", "href"):
                self.linked.append(value)


def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Addresses(path) for path in site.rglob("*.html")}


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site, pages):
    fetched = {address for page in pages.values() for address in page.fetched}
    for path in site.rglob("*.css"):
        fetched |= set(IN_STYLES.findall(path.read_text(encoding="utf-8")))
    assert any(address.endswith(".css") for address in fetched)
    assert not {a for a in fetched if urlsplit(a).scheme or a.startswith("//")}


@pytest.mark.slow
def test_every_link_within_the_site_leads_to_a_file(site, pages):
    broken = []
    for path, page in pages.items():
        for address in (*page.fetched, *page.linked):
            parts = urlsplit(address)
            if parts.scheme or not parts.path:
                continue
            start = site if parts.path.startswith("/") else path.parent
            found = start / unquote(parts.path).lstrip("/")
            if not found.exists():
                broken.append((path.name, address))
    assert len(pages) > 30
    assert not broken


@pytest.mark.slow
def test_files_of_the_repository_come_along(site):
    text = (site / "repository" / "examples" / "two_roles.py.html").read_text(encoding="utf-8")
    assert "two_roles" in text
    assert (site / "repository" / "index.html").is_file()  # the README
    assert (site / "repository" / "LICENSE.html").is_file()
    assert not (site / "site_hooks.py").exists()


@pytest.mark.slow
def test_tables_are_shown_where_they_are_linked(site):
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    shown = re.findall(r"\(\.\./([^)]+\.md)\) <!-- shown here -->", page)
    html = (site / "benchmarks.html").read_text(encoding="utf-8")
    assert len(shown) >= 9
    for path in shown:
        last = (ROOT / path).read_text(encoding="utf-8").split("\n\n")[1].splitlines()[0]
        assert last.strip() in html, path


def test_every_table_of_results_is_on_the_page():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for path in (ROOT / "benchmarks" / "results").glob("*.md"):
        assert f"(../benchmarks/results/{path.name}) <!-- shown here -->" in page


@pytest.mark.slow
def test_the_reference_has_docstrings_with_their_references(site):
    page = (site / "api" / "pipelines.html").read_text(encoding="utf-8")
    assert "Classify texts whose encoder runs on encrypted data." in page
    for path in (site / "api").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"\b(?:class|func|meth|mod|attr|data):\s*<", text)


@pytest.mark.slow
def test_the_reference_has_every_error_and_every_public_name(site):
    import thex_hf
    from thex_hf import errors

    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    ours = [name for name in vars(errors) if isinstance(getattr(errors, name), type)]
    assert len(ours) > 15
    for name in (*ours, *thex_hf.__all__):
        assert re.search(rf'<h\d id="thex_hf\.[\w.]*\b{name}"', text), name


def test_a_link_to_nothing_stops_the_build(tmp_path):
    from mkdocs.exceptions import PluginError

    page = tmp_path / "page.md"
    page.write_text("See [this](../nothing.md).", encoding="utf-8")
    with pytest.raises(PluginError, match=r"should link files of the repository; got \.\./"):
        list(hooks()._targets(page))
