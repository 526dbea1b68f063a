# Needs Python 3.11+, make and git. Everything else comes from the lock files: see tools/bootstrap.py.
PYTHON ?= python3
PY := .venv/bin/python
NPM := $(PY) -m clarion.node npm --prefix contracts
# what npm writes when it has installed everything
CLIENTS := tests/clients/node_modules/.package-lock.json tests/charms_js/node_modules/.package-lock.json
POSTGRAPHILE := tests/bench/postgraphile/node_modules/.package-lock.json
CHARMS := contracts/charms/node_modules/.package-lock.json
ARGS ?=

# Compiled modules are kept whatever the environment says: processes are many here, and compiling is most of a start.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup dev test test-all check format bench migration docs events lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the lock files name into .venv and contracts/node_modules
	@$(PYTHON) tools/bootstrap.py

dev: setup ## Run a local chain, the indexer, GraphQL and the keeper (options in ARGS)
	@exec .venv/bin/clarion dev $(ARGS)

test: setup $(CLIENTS) ## Run the tests, the slow ones left out (pytest options in ARGS)
	$(PY) tools/run_tests.py $(ARGS)

test-all: setup $(CLIENTS) ## Run every test
	$(PY) -m pytest -m "slow or not slow" --ignore tests/bench --hypothesis-profile long --durations 40 $(ARGS)
	$(NPM) test

check: setup $(CHARMS) $(CLIENTS) ## Run the linters, the type checkers and the migration check
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m mypy examples/sbtc/clarion_sbtc
	$(PY) -m mypy $(wildcard examples/*.py)
	$(NPM) run types
	$(PY) -m clarion.node contracts/node_modules/.bin/tsc -p tests/clients
	$(PY) -m clarion.node npm --prefix contracts/charms run check
	$(PY) tools/migrations.py check
	$(PY) tools/bithedge_events.py --check

format: setup ## Format the Python code and repair what the linter can
	$(PY) -m ruff check --fix-only
	$(PY) -m ruff format

bench: setup $(POSTGRAPHILE) ## Run the benchmarks
	$(PY) -m pytest tests/bench -m "slow or not slow" -s $(ARGS)

$(CLIENTS) $(POSTGRAPHILE) $(CHARMS): %/node_modules/.package-lock.json: %/package-lock.json | setup
	$(PY) -m clarion.node npm ci --prefix $* --loglevel=error
	@touch $@

migration: setup ## Write the migration that brings the tables to the models: make migration MESSAGE="add fees"
	@test -n "$(MESSAGE)" || { echo 'Say what changes: make migration MESSAGE="add fees"' >&2; exit 2; }
	$(PY) tools/migrations.py new "$(MESSAGE)"

docs: setup ## Write docs/configuration.md from the settings
	$(PY) -m clarion.config > docs/configuration.md

events: setup ## Write what follows from contracts/events.json: structs and documentation
	$(PY) tools/bithedge_events.py

lock: setup ## Lock again after a change of dependencies (options of uv in ARGS, such as --upgrade)
	.venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --extra dev \
		$(ARGS) pyproject.toml --output-file requirements.lock
	for folder in contracts contracts/charms tests/clients tests/charms_js tests/bench/postgraphile; do \
		$(PY) -m clarion.node npm install --package-lock-only --prefix $$folder || exit 1; done

clean: ## Remove everything that make and clarion made here, the embedded database too
	@if [ -x $(PY) ]; then $(PY) tools/clean.py; fi
	@$(PYTHON) tools/bootstrap.py --remove
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis dist contracts/.cache contracts/coverage \
		tests/clients/node_modules tests/charms_js/node_modules tests/bench/postgraphile/node_modules contracts/charms/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
