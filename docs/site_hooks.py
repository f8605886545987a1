"""Make links that leave docs/ work on the site as they do in a checkout.

A page may link any file of the repository by its relative path. On the site there is no
repository, and it has no public address, so each linked file comes along under ``repository/``:
Markdown as a page, programs as a page with the text in it, everything else as it is. Pages
that come along bring what they link in turn. Links that lead to folders are refused.

A link followed by ``<!-- shown here -->`` is followed on the site by what it leads to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SHELF = "repository"
AS_TEXT = {".py": "python", ".yml": "yaml", ".txt": "text", "": "text"}
CODE = re.compile(r"^```.*?^```\s*?$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(?=[)#])")
SHOWN = re.compile(r"^(\[[^]]*\]\(([^)]+)\)) <!-- shown here -->$", re.MULTILINE)
ROLE = re.compile(r":[a-z]+:<code>~?([^<]+)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add the files that pages of docs/ link outside of it, and those that these link."""
    for path in sorted(_wanted()):
        if path.suffix in AS_TEXT:
            text = f"# {path.name}\n\n```{AS_TEXT[path.suffix]}\n{path.read_text('utf-8')}\n```\n"
            files.append(File.generated(config, _address(path), content=text))
        else:
            files.append(File.generated(config, _address(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links between files of the repository into links between files of the site."""
    source = page.file.src_uri
    kept = source.startswith(f"{SHELF}/")
    here = ROOT / source.removeprefix(f"{SHELF}/") if kept else DOCS / source
    if kept and here.suffix == ".md" and not here.exists():
        return markdown  # a program's text
    start = Path(source).parent
    markdown = SHOWN.sub(lambda found: _show(here.parent / found.group(2)), markdown)

    def on_the_site(link: str) -> str:
        target = Path(os.path.normpath(here.parent / link))
        return os.path.relpath(_address(target), start).replace(os.sep, "/")

    return _each_link(markdown, on_the_site)


def on_page_content(html: str, **_: Any) -> str:
    """Show the cross-references of docstrings as code, linked where the site has the object."""
    return ROLE.sub(r'<autoref identifier="\1" optional><code>\1</code></autoref>', html)


def _show(path: Path) -> str:
    """The text of a table's file, under a link to the figures behind it."""
    return path.read_text("utf-8")


def _address(path: Path) -> str:
    """Where a file of the repository is on the site, as a source address."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = f"{SHELF}/{path.relative_to(ROOT).as_posix()}"
    return f"{name}.md" if path.suffix in AS_TEXT else name


def _wanted() -> set[Path]:
    """Every file outside docs/ that can be reached by links from the pages in it."""
    todo, found = sorted(DOCS.rglob("*.md")), set()
    while todo:
        for path in _targets(todo.pop()):
            if path.is_relative_to(DOCS) or path in found:
                continue
            found.add(path)
            todo += [path] if path.suffix == ".md" else []
    return found


def _targets(page: Path) -> Iterator[Path]:
    """The files that a page links."""
    for link in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        path = Path(os.path.normpath(page.parent / link))
        if not path.is_file() or not path.is_relative_to(ROOT):
            raise PluginError(f"{page.name} should link files of the repository; got {link}")
        yield path


def _each_link(markdown: str, change: Callable[[str], str]) -> str:
    """The text with every relative link outside of code blocks changed."""
    pieces, end = [], 0
    for block in CODE.finditer(markdown):
        pieces += [_change(markdown[end : block.start()], change), block.group()]
        end = block.end()
    return "".join([*pieces, _change(markdown[end:], change)])


def _change(text: str, change: Callable[[str], str]) -> str:
    return LINK.sub(lambda found: change(found.group(1)), text)
