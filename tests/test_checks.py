"""The ways to start the checks agree: README, Makefile, hooks before a commit, and the workflow."""

import re
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="pip install 'thex_hf[docs]'")

ROOT = Path(__file__).parents[1]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def load(path):
    return yaml.load(read(path), yaml.BaseLoader)  # BaseLoader: "on" stays a word


def test_make_runs_the_tests_as_the_readme_does():
    options = re.search(r"\.venv/bin/python (-m pytest .*)", read("README.md")).group(1)
    assert f"\t$(PYTHON) {options}\n" in read("Makefile")
    assert f'python {options} --only-slow"' in read(".ci/run")


def test_make_runs_the_checkers_of_ci():
    makefile = read("Makefile")
    checks = re.findall(r'"\.venv/bin/((?:ruff|mypy)[^"]*)"', read(".ci/run"))
    assert len(checks) == 3
    for check in checks:
        assert f"\t$(PYTHON) -m {check}\n" in makefile
    assert "\ncheck: lint types test " in makefile


def test_hooks_run_the_same_checkers():
    local, foreign = load(".pre-commit-config.yaml")["repos"]
    entries = " ".join(hook["entry"] for hook in local["hooks"])
    for checker in ("ruff check", "ruff format --check", "mypy"):
        assert checker in entries
    assert {hook["id"] for hook in foreign["hooks"]} == {
        "check-added-large-files",
        "end-of-file-fixer",
    }


def test_the_workflow_runs_ci_on_every_supported_python_and_may_only_read():
    workflow = load(".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert not [name for name, job in jobs.items() if "permissions" in job]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert {"run": ".ci/run"} in jobs["checks"]["steps"]
    assert {"run": "python -m mkdocs build --strict"} in jobs["docs"]["steps"]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
    oldest = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    versions = jobs["checks"]["strategy"]["matrix"]["python"]
    assert f">={versions[0]}" == oldest
    assert versions == ["3.11", "3.12", "3.13"]
