# One command each, from a clean clone, with Python 3.11 or newer:
#   make run         the dashboard on the bundled models
#   make test        the tests, with a real browser
#   make test-slow   tests that take half a minute each: Triton kernels, training on several processes, dark pages
#   make test-transformers   transformers' own model tests with our model
#   make lint        linters, types, import directions

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# Compile to byte code on every core; pip would use one. Errors are ignored: some packages ship files that do not compile.
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true

.PHONY: run test test-slow lint format chromium clean help

help:
	@sed -n 's/^#   //p' Makefile

run: $(VENV)/.run
	$(BIN)/solu dashboard

test: $(VENV)/.dev chromium
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

test-slow: $(VENV)/.dev chromium
	$(BIN)/python -m pytest -m slow --numprocesses auto --dist loadfile $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The browser for the browser tests: Debian's chromium, installed if it is missing and we are root. Without it these
# tests are skipped with a message; with CI=true a skip is a failure.
chromium:
	@command -v chromium >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "no chromium, and it cannot be installed from here: the browser tests will skip"

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) (once; about a minute)"
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) (once; about a minute)"
	$(PIP) -r requirements-dev.txt
	$(PIP) --no-deps --editable .
	@$(COMPILE)
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

-include benchmarks/bench.mk tests/oracle/oracle.mk tests/transformers_common/transformers_common.mk
