"""The notebook runs from top to bottom, says what it should, and is kept with what it said."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quick_start.ipynb"
SAID = (
    r"'label': 'POSITIVE'",
    r"11 tokens, padded to 16",
    r"4 rounds, \d\.\d MB up",
    r"clear model: same label True, logits differ by \de-0[2-9]",
    r"client-aided POSITIVE  6 rounds, 3 levels",
    r"refresh      POSITIVE  4 rounds, 5 levels",
    r"one-shot     POSITIVE  1 rounds, 12 levels",
    r"POSITIVE  \d\.\d\d s, 511 tickets left\nNEGATIVE  \d\.\d\d s, 510 tickets left",
    r"'accuracy': 1\.0",
    r"same label as in clear: 100%",
)


def read() -> nbformat.NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run prints; the kernel finds the package where this process does."""
    notebook = read()
    place = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    path = os.pathsep.join([str(NOTEBOOK.parents[1]), os.environ.get("PYTHONPATH", "")])
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place)
    client.execute(env={**os.environ, "PYTHONPATH": path})
    return printed(notebook)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", SAID)
def test_the_notebook_says(said, pattern):
    assert re.search(pattern, said), said


def test_it_is_kept_with_what_it_said():
    notebook = read()
    numbers = [cell.execution_count for cell in code(notebook)]
    assert numbers == [*range(1, len(numbers) + 1)]  # one run, from top to bottom
    assert [pattern for pattern in SAID if not re.search(pattern, printed(notebook))] == []
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert {output.get("name") for output in outputs} == {"stdout"}  # no path of a machine in a log


def test_its_links_lead_to_files():
    text = "\n".join(cell.source for cell in read().cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []
