# `make demo` on a bare machine does everything; the other targets also set themselves up first.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: setup extras demo test test-slow lint docs clean help

BIN := .venv/bin
TESTS := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile
ARGS ?=

setup: ## make .venv with the locked dependencies and a usable LLVM
	@bash scripts/bootstrap.sh

extras: ## as setup, and the optional parts: SUMO, 3GPP channels, places by name, terrain, Dask
	@bash scripts/bootstrap.sh --extras

demo: setup ## street map to reconstructed channels; e.g. make demo ARGS="--osm FILE"
	$(BIN)/channelfm demo $(ARGS)

test: extras ## all tests but slow ones, in minutes; e.g. make test ARGS="tests/waves"
	$(TESTS) -m "not slow" $(ARGS)

test-slow: extras ## the slow tests alone
	$(TESTS) -m slow $(ARGS)

lint: extras ## ruff, mypy --strict, and the import rules of docs/architecture.md
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: setup ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove caches and built files; keeps .venv, data/ and runs/
	rm -rf site build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
