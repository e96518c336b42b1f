# Needs nothing but python3 (3.11 or later) and make; everything else is installed into .venv at pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SPARK := $(VENV)/.spark
# The tests on Spark are skipped without Java, so pyspark is installed where there is one.
TESTABLE := $(INSTALLED) $(if $(shell command -v java),$(SPARK))
# Processes that share the tests; the engine of each may take 2 GB.
WORKERS ?= 2
SUITE = $(BIN)/python -m pytest -q --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow dev lint types validate bench docs clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "crm_assets needs Python 3.11 or later, not " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,dev]'
	touch $@

install: $(INSTALLED)  ## Make .venv with everything installed.

demo: $(INSTALLED)  ## Run everything on a year of real retail data, into ./data.
	$(BIN)/crm-assets demo

$(SPARK): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,dev,spark]'
	touch $@

test: $(TESTABLE)  ## Run the tests but the slow ones.
	$(SUITE) -m "not slow"

test-slow: $(TESTABLE)  ## Run the slow ones: the demonstration, kills, published figures, Spark.
	$(SUITE) -m slow

dev: $(INSTALLED)  ## Start Dagster's UI and daemon at http://127.0.0.1:3000.
	$(BIN)/dagster dev --host 127.0.0.1 --workspace workspace.yaml

lint: $(INSTALLED)  ## Check style and format.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## Check types.
	$(BIN)/mypy

validate: $(INSTALLED)  ## Load the definitions as Dagster does.
	$(BIN)/dagster definitions validate --workspace workspace.yaml

bench: $(INSTALLED)  ## Run the benchmarks into docs/benchmarks.md, which takes hours.
	$(BIN)/python benchmarks/report.py

docs: $(INSTALLED)  ## Write docs/tables.md and docs/mapping.schema.json from the contracts.
	$(BIN)/python -m crm_assets.contracts.docs docs/tables.md
	$(BIN)/python -m crm_assets.sources.schema docs/mapping.schema.json

clean:  ## Remove .venv and caches; ./data stays.
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
