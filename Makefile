# Every target does its own set-up in .venv; all it needs is make and Python 3.11 or newer.
#   make train            learn to beat the computer, live in the browser too      make train ARGS='--minutes 3'
#   make watch, make play watch the champion in the browser, play against it       make watch ARGS=runs/fast-seed1
#   make test, make lint  what CI runs
#   make bench            how fast it is on this machine
#   make docs, docs-serve the lesson as a site, in site/ or in the browser; make docs-test checks it

PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
ARGS ?=

.PHONY: setup train watch play test lint bench docs docs-serve docs-test clean

# The theme's note about MkDocs 2; the extra `docs` asks for MkDocs 1.
export NO_MKDOCS_2_WARNING = 1

setup: .venv/ready

.venv/ready: pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"pongrad needs Python 3.11 or newer: set one with make PYTHON=python3.12")'
	@echo "Setting up in .venv, once"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --constraint requirements.txt --editable .
	@$(PIP) install --constraint requirements.txt --editable '.[play]' 2>/dev/null || \
	echo "The emulator for two players cannot be had here: make play will not work"
	@$(BIN)/python -m pongrad.runs.warm
	@touch $@

.venv/ready-to-test: .venv/ready
	@$(PIP) install --constraint requirements.txt --editable '.[dev]'
	@touch $@

.venv/ready-for-docs: .venv/ready
	@$(PIP) install --constraint requirements.txt --editable '.[docs]'
	@touch $@

train: .venv/ready
	@$(BIN)/pongrad train --live $(ARGS)

watch: .venv/ready
	@$(BIN)/pongrad watch $(ARGS)

play: .venv/ready
	@$(BIN)/pongrad play $(ARGS)

test: .venv/ready-to-test
	@$(BIN)/python -m pytest $(ARGS)

lint: .venv/ready-to-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/ready
	@$(BIN)/pongrad bench $(ARGS)

docs: .venv/ready-for-docs
	@$(BIN)/python docs/figures.py
	@$(BIN)/mkdocs build

docs-serve: .venv/ready-for-docs
	@$(BIN)/python docs/figures.py
	@$(BIN)/mkdocs serve --no-strict

docs-test: .venv/ready-to-test docs
	@$(BIN)/python -m pytest docs/tests $(ARGS)

clean:
	rm -rf .venv build dist site docs/figures *.egg-info
