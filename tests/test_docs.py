"""README and docs: the Python in them runs, their links lead somewhere, the first lines hold.

Python blocks run in order and share one namespace for each file, in an empty directory. A
block after the comment ``<!-- slow -->`` runs with the slow tests only; no other may need it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import thex_hf

ROOT = Path(__file__).parents[1]
PACKAGE = Path(thex_hf.__file__).parent
ABOUT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
PAGES = [*ABOUT, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
SLOW = re.compile(r"<!--\s*slow\s*-->\s*\Z")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROOMS = "thex_hf|tests|docs|examples|benchmarks|training|\\.ci|\\.github"
NAMED = re.compile(rf"`((?:{ROOMS})(?:/[^`\s]*)?|[\w.-]+\.(?:md|txt|toml|yml|yaml))`")
HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str, bool, int]]:
    """Language, text, whether marked slow, and first line of each fenced block."""
    text = page.read_text(encoding="utf-8")
    return [
        (
            found.group(1),
            found.group(2),
            bool(SLOW.search(text[: found.start()])),
            text.count("\n", 0, found.start()) + 2,
        )
        for found in FENCE.finditer(text)
    ]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as the usual hosts make them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(text))
    return {title.strip().replace(" ", "-") for title in plain}


WITH_PYTHON = [page for page in PAGES if any(block[0] == "python" for block in blocks(page))]
WITH_SLOW = [page for page in WITH_PYTHON if any(block[2] for block in blocks(page))]


def run_python(page: Path, *, slow: bool) -> int:
    """Run the blocks of a page, the slow ones too or not; say how many there were."""
    space: dict[str, object] = {"__name__": f"blocks_of_{page.stem}"}
    todo = [
        (text, line)
        for language, text, late, line in blocks(page)
        if language == "python" and (slow or not late)
    ]
    for text, line in todo:
        # blank lines in front make tracebacks show the page's own line numbers
        exec(compile("\n" * (line - 1) + text, str(page), "exec"), space)
    return len(todo)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    marked = sum(block[2] for block in blocks(page))
    ran = run_python(page, slow=False)
    assert ran == page.read_text(encoding="utf-8").count("\n```python\n") - marked


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_SLOW, ids=name)
def test_python_blocks_run_with_the_slow_ones(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run_python(page, slow=True)
    assert ran == page.read_text(encoding="utf-8").count("\n```python\n")


def test_every_block_says_what_it_is():
    """So that no block of Python is passed over for a misspelt or missing word."""
    kinds = {block[0] for page in PAGES for block in blocks(page)}
    assert kinds <= {"python", "bash", "text", "json", "toml"}


def test_the_readme_begins_with_two_lines_for_the_shell():
    first, second = blocks(ROOT / "README.md")[:2]
    for language, text, _, _ in (first, second):
        assert language == "bash"
        assert len(text.strip().splitlines()) == 1
        assert "python3 -m venv .venv && .venv/bin/" in text
        assert "-c constraints.txt" in text
    assert "thex-hf classify" in first[1]
    assert "python -m pytest -q" in second[1]


def where(path: Path) -> Path:
    """A place of the repository; what is of the package may be where that is installed."""
    path = path.resolve()
    inside = path.is_relative_to(ROOT / "thex_hf")
    return PACKAGE / path.relative_to(ROOT / "thex_hf") if inside else path


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_files(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = where(page.parent / path) if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_private_paths(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"/(?:home|root|work|tmp|Users)/\S*", text)


def test_every_docs_page_is_on_the_index():
    docs = ROOT / "docs"
    linked = set(LINK.findall((docs / "index.md").read_text(encoding="utf-8")))
    pages = {page.relative_to(docs).as_posix() for page in PAGES if page.is_relative_to(docs)}
    assert pages - {"index.md"} <= linked


@pytest.mark.parametrize("page", ABOUT, ids=name)
def test_what_a_page_names_is_there(page):
    """Files and folders of the repository that a page at its root names as code."""
    named = NAMED.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    assert not [path for path in named if not where(ROOT / path).exists()]


def test_contributing_has_every_package_in_its_house():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert not {package for package in packages if not re.search(rf"\b{package}\b", text)}
