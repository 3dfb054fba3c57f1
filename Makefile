# A fresh machine needs Python 3.11 and make, nothing else: every target sets up what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# One thread in every numeric library: results must not depend on how busy the machine is.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export NUMBA_NUM_THREADS ?= 2
export POLARS_MAX_THREADS := 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

WORKERS ?= 2

.PHONY: help demo test check lint fault bench clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Kalibre needs Python 3.11 or newer, '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1): install python3.11, or say make PYTHON=/path/to/python3.11"; exit 2; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: $(VENV)/.installed  ## two markets judged, traded and stopped, then the hub and its page (ONCE=1 stops by itself)
	$(BIN)/kalibre demo $(if $(ONCE),--once) $(ARGS)

lint: $(VENV)/.installed-test  ## style, types and the layering of the house
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## every test, the layering included (loopback only; without ../shared the real-data tests skip)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -rs

check: test  ## what has to be green before an issue is done: tests, and README's commands
	$(BIN)/kalibre --help > /dev/null

fault: $(VENV)/.installed-test  ## kill -9 by the thousand: nothing lost, nothing doubled, nothing changed
	$(BIN)/python -m benchmarks.fault

bench: $(VENV)/.installed-test  ## every claim of docs/benchmarks.md, measured beside its peer
	$(BIN)/python -m benchmarks

clean:  ## remove the environments and what was made
	rm -rf .venv .venv-vectorbt .venv-peers kalibre_home out build
