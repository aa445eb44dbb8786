# Everything a fresh machine needs: `make sweep` measures, `make test` checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OVERRIDES ?=

.PHONY: sweep report test check format data bench clean

sweep: data
	$(BIN)/python -m src.train +sweeps=main $(OVERRIDES)

report:
	$(BIN)/python -m src.report outputs/main

data: $(VENV)/installed
	$(BIN)/python -m src.data.fetch

test: data
	$(BIN)/python -m pytest tests

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: data
	$(BIN)/python bench/epoch.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
