# One word for the checks; see CONTRIBUTING.md. In a virtual environment with ".[dev]" installed,
# or with another interpreter: make check PYTHON=.venv/bin/python
PYTHON ?= python

.PHONY: check check-all format lint types test docs

check: lint types test  ## what every change should pass

check-all:  ## everything, on clean clones of what is committed
	.ci/run

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -q -n 2 --dist loadfile

docs:
	$(PYTHON) -m mkdocs build --strict
