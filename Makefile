# Textmill's tasks. `make` alone lists them; each does its own set-up.
# Needs Python 3.11 or newer with venv, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Dependency groups (PEP 735) need pip 25.1; pinned, so that set-up does tomorrow what it did today.
PIP_VERSION := 26.3
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Exported settings of the caller (DATABASE_URL, REDIS_URL, TEXTMILL_*) reach every target.
ARGS ?=
CHAOS_MINUTES ?= 5
CHAOS_SEED ?=
QUESTION ?=
# A file of tests is one process's: what it starts for all its tests is started once. In the order of the tree, whose
# longest files come first and whose unit tests fill what is left.
TEST_PROCESSES ?= --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup browser pgbouncer demo up test test-quick check audit format docs docs-site bench bench-queue bench-fairness chaos migrate wheel clean

help:  ## List the targets
	@echo "make TARGET [ARGS='...'] [PYTHON=python3.12]"
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

demo: $(VENV)/.ready  ## The three tasks over real documents, with everything embedded; shows samples, writes demo-output/
	$(BIN)/python -m standalone demo $(ARGS)

up: $(VENV)/.ready  ## The whole system on this machine, kept running; prints the page's address (ARGS=--open opens it) and an API key
	$(BIN)/python -m standalone up $(ARGS)

test: $(VENV)/.ready-dev browser pgbouncer  ## Every test, on SQLite and PostgreSQL, with real servers, processes and a browser
	$(BIN)/python -m pytest $(TEST_PROCESSES) $(ARGS)

test-quick: $(VENV)/.ready-dev  ## The unit tests alone
	$(BIN)/python -m pytest tests/unit $(ARGS)

check: $(VENV)/.ready-dev  ## Linters, formatting, types, who may import whom, and security (bandit)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy textmill store api workers standalone migrations benchmarks docs examples
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive textmill store api workers standalone migrations

audit: $(VENV)/.ready-dev  ## Known weaknesses of the versions in constraints.txt; asks a public list of advisories, over the network
	@$(INSTALL) --group audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

format: $(VENV)/.ready-dev  ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.ready-dev  ## Write the tables of docs/operations.md and docs/http.md from the code that they describe
	$(BIN)/python docs/settings.py
	$(BIN)/python docs/tasks.py

docs-site: $(VENV)/.ready-dev  ## The pages as a site: tutorial, how-to, reference from the code (build/site/index.html)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs --doctree-dir build/site-read . build/site
	@echo build/site/index.html

bench: $(VENV)/.ready-peers  ## Measure against the best of each peer; QUESTION=name: every side of one question
	$(BIN)/python -m benchmarks $(QUESTION) $(ARGS)

bench-queue: $(VENV)/.ready-dev  ## Measure the queue: many small documents, no model
	$(BIN)/python -m benchmarks.queue $(ARGS)

bench-fairness: $(VENV)/.ready-bench  ## Measure how long small jobs wait beside a huge one, and what that one loses
	$(BIN)/python -m benchmarks.fairness $(ARGS)

chaos: $(VENV)/.ready-dev  ## The whole system under load and random faults, checked (CHAOS_MINUTES=5, CHAOS_SEED)
	$(BIN)/python -m tests.reliability.chaos --minutes $(CHAOS_MINUTES) $(if $(CHAOS_SEED),--seed $(CHAOS_SEED)) $(ARGS)

migrate: $(VENV)/.ready  ## Bring the database of DATABASE_URL to the newest schema
	$(BIN)/alembic upgrade head

wheel: $(VENV)/.ready-dev  ## Build what producers install (dist/): the client and the command line
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

browser:  ## The Chromium of tests/browser: the one that is there, or Debian's where apt may install it
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium for tests/browser"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	  else false; fi || \
	  echo "No Chromium, and none could be installed: tests/browser are skipped (and fail where CI or TEXTMILL_CI is set)." >&2

pgbouncer:  ## The PgBouncer of the tests: the one that is there, or Debian's where apt may install it
	@command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing PgBouncer for tests/integration/test_pgbouncer.py"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer >/dev/null; \
	  else false; fi || \
	  echo "No PgBouncer, and none could be installed: its tests are skipped (and fail where CI or TEXTMILL_CI is set)." >&2

setup: $(VENV)/.ready-dev  ## Set-up alone: the virtual environment with everything in it

clean:  ## Remove the virtual environment, caches and built files (data in .textmill/ stays)
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamp files: set-up runs again when what it installs from has changed.
$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Textmill needs Python 3.11 or newer: no '$(PYTHON)' here." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Textmill needs Python 3.11 or newer, and '$(PYTHON)' is older: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; a few minutes, most of it PyTorch)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pip==$(PIP_VERSION)
	@$(INSTALL) --group standalone --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@$(INSTALL) --group dev --editable '.[all]'
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready-dev
	@$(INSTALL) --group bench
	@touch $@

$(VENV)/.ready-peers: $(VENV)/.ready-bench
	@$(INSTALL) --group peers
	@touch $@
