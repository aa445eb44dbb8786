# Everything a fresh machine needs: `make sweep` measures, `make test` checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OVERRIDES ?=

.PHONY: sweep report test lowest browser check format data bench audit clean blog tutorial3 notes05 spiral iris

sweep: data
	$(BIN)/python -m src.train +sweeps=main $(OVERRIDES)

# The five documents: what each shows, recomputed.
blog: SWEEPS = blog
tutorial3: SWEEPS = tutorial3 tutorial3_deep
notes05: SWEEPS = notes05_chain notes05_exploding notes05_outputs notes05_logistic
spiral: SWEEPS = spiral
iris: SWEEPS = iris iris_deep iris_scale

blog tutorial3 notes05 spiral iris: data
	set -e; for sweep in $(SWEEPS); do $(BIN)/python -m src.train +sweeps=$$sweep $(OVERRIDES); done

report:
	$(BIN)/python -m src.report outputs/main

data: $(VENV)/installed
	$(BIN)/python -m src.data.fetch

test: data browser
	$(BIN)/python -m pytest tests --numprocesses 2 --dist worksteal --durations 30

# Pages are tested in a real browser: Debian's, installed if this user may.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { test "$$(id -u)" = 0 && apt-get -qq update && apt-get -qq install --yes chromium; } \
	|| { echo "error: no chromium: the tests of pages need it; as root: apt-get install chromium" >&2; exit 1; }

# The suite again with the oldest version of each package that pyproject.toml allows, in an environment of its own.
lowest: data browser
	$(PYTHON) -m venv $(VENV)-lowest
	$(PYTHON) -c "import tomllib; print(*(each.partition(',')[0].replace('>=', '==') for each in tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']), sep='\n')" > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/pip install --quiet --disable-pip-version-check --editable '.[test]' --constraint $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pytest tests --numprocesses 2 --dist worksteal -W ignore::DeprecationWarning # of one such package by another

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: data
	$(BIN)/python -m bench.epoch

# Known advisories about the installed packages; asks PyPI for them, and fails where it gets no answer: without --strict
# a package that nobody knows counts as one without advisories.
audit: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[audit]'
	$(BIN)/pip freeze --exclude-editable > $(VENV)/frozen.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement $(VENV)/frozen.txt

clean:
	rm -rf $(VENV) $(VENV)-lowest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
