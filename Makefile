# make demo | test | test-all | test-newest | lint | docs: each installs what it needs into .venv first, once, and prints what it does.
SHELL := /bin/bash
PYTHON ?= python3
STEPS ?= 200
# CONSTRAINTS=/dev/null installs the newest of everything
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin

# the newest JAX needs Python 3.12 at least
NEWEST_PYTHON ?= python3.12
NEWEST := .venv-newest/bin
TESTS ?= tests

.PHONY: demo test test-all test-newest lint docs clean

demo: .venv/runtime  ## iCEM drives the Brax ant forward; the report is runs/ant-icem/report.html
	$(BIN)/mirrax run ant --steps $(STEPS)

test: .venv/test  ## all tests but those that take long, as many files at once as there are cores
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-all: .venv/test  ## all tests
	$(BIN)/python -m pytest -n auto --dist loadfile

test-newest: .venv-newest/test  ## the same with the newest of everything; TESTS=... for some of them
	$(NEWEST)/python -m pytest -n auto --dist loadfile $(TESTS)

lint: .venv/test  ## style, format, and types of the built wheel
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/bdist.* build/lib build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --outdir build/wheel . > build/wheel/log || { cat build/wheel/log; exit 1; }
	$(BIN)/python -m zipfile -e build/wheel/mirrax-*.whl build/wheel/site
	$(BIN)/mypy build/wheel/site/mirrax

docs: .venv/docs  ## the documentation, which needs no network: build/site/index.html; a minute or two at first
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:  ## everything that was made, the environment included
	rm -rf .venv .venv-newest build dist docs/generated runs .jax_cache src/*.egg-info

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mirrax needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/runtime: .venv/python pyproject.toml constraints.txt
	@echo "installing mirrax and what it needs into .venv (1.1 GB; a minute or more)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[all]'
	@touch $@

.venv/test: .venv/python pyproject.toml constraints.txt
	@echo "installing mirrax, what it needs and its test tools into .venv (1.2 GB; a minute or more)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[test]'
	@touch $@ .venv/runtime

.venv-newest/test: pyproject.toml
	@$(NEWEST_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || \
		{ echo "the newest JAX needs Python 3.12; name one with: make NEWEST_PYTHON=python3.13 test-newest"; exit 1; }
	$(NEWEST_PYTHON) -m venv .venv-newest
	@echo "installing the newest of everything into .venv-newest (1.2 GB; a minute or more)"
	$(NEWEST)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

.venv/docs: .venv/python pyproject.toml constraints.txt
	@echo "installing mirrax, what it needs and its documentation tools into .venv (1.2 GB; a minute or more)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[docs]'
	@touch $@ .venv/runtime
