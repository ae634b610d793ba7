# Countermark. `make demo` and `make test` each do the whole set-up on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test check test-all bench docs lint clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## create .venv and install everything

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Countermark needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1). Run: make setup PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,web]'
	@$(BIN)/python -m countermark.setup_check
	@touch $@

demo: $(STAMP)  ## forge, sign, detect and verify on embedded material
	$(BIN)/countermark demo

test: $(STAMP)  ## the fast test suite
	$(BIN)/python -m pytest

check: $(STAMP) lint test  ## lint, types, imports, tests: what CI runs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-all: $(STAMP)  ## every test, the slow ones too
	$(BIN)/python -m pytest -m 'slow or not slow'

bench: $(STAMP)  ## measure detection and generation on what is at hand
	$(BIN)/python -m benchmarks.tables

docs: $(STAMP)  ## regenerate docs/cli.md from the command's own help
	$(BIN)/python -m countermark.cli_reference docs/cli.md

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
