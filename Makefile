# `make help` lists every command. The two that matter: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA_DIR ?= .octollm
export OCTOLLM_DATA_DIR := $(abspath $(DATA_DIR))

# uv when it can be had, pip otherwise; never removes what the other lock brought.
# Bytecode is compiled now: the first start would wait for it otherwise.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@start=$$(date +%s); \
	{ test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } && \
	if $(BIN)/python -m pip install -q --disable-pip-version-check uv 2>/dev/null && \
	   $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r $(1) && \
	   $(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .; then :; \
	else $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1) && \
	     $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; fi && \
	echo "installed $(1) in $$(( $$(date +%s) - start )) s"
	@touch $@
endef

.PHONY: help setup setup-dev run demo test test-postgres test-live lint cov chaos chaos-recovery bench bench-arms bench-planner bench-reflex eval-planner eval-reflex lock
help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: requirements.lock pyproject.toml
	$(call install,requirements.lock)

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)

setup: $(VENV)/.installed ## make .venv with what running needs
setup-dev: $(VENV)/.installed-dev ## make .venv with what testing needs

run: setup ## start everything on embedded engines and run the sample goal
	@$(BIN)/octollm up $(ARGS)

demo: setup ## submit the sample goal again to the running system
	@$(BIN)/octollm demo $(ARGS)

test: setup-dev ## run the tests on private embedded engines
	$(BIN)/python -m pytest $(ARGS)

PG_BIN ?= /usr/lib/postgresql/15/bin
test-postgres: setup-dev ## run the tests that reach a database on the PostgreSQL in PG_BIN, but those of the embedded one
	.ci/postgres $(PG_BIN) $(BIN)/python -m pytest --database-only --ignore-glob='*/test_embedded*' --ignore-glob='*/test_up_killed.py' --ignore-glob='*/test_chaos.py' $(ARGS)

test-live: setup-dev ## run the tests that ask the real model named by OCTOLLM_LLM_BASE_URL and OCTOLLM_LLM_MODEL
	OCTOLLM_TEST_LIVE=1 $(BIN)/python -m pytest -m live tests/live $(ARGS)

lint: setup-dev ## Black, Ruff, mypy, migrations, deployment checks
	$(BIN)/black --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy .
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -W ignore manage.py makemigrations --check --dry-run
	@key() { $(BIN)/python -c "import secrets; print(secrets.token_urlsafe($$1))"; }; \
	OCTOLLM_DATA_DIR=/nonexistent OCTOLLM_HTTPS=true OCTOLLM_ALLOWED_HOSTS=octollm.example.org \
	OCTOLLM_SECRET_KEY=$$(key 48) OCTOLLM_HMAC_KEY=$$(key 33) OCTOLLM_VAULT_KEYS=$$(key 32)= \
	$(BIN)/python manage.py check --deploy --fail-level WARNING

cov: setup-dev ## tests with branch coverage; HTML in htmlcov/
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage html -q
	$(BIN)/coverage report

chaos: setup-dev ## kill everything at random under load; show that nothing is lost or done twice
	$(BIN)/python -m tests.chaos.run $(ARGS)

chaos-recovery: setup-dev ## kill workers under production settings; print when their steps went on
	$(BIN)/python -m tests.chaos.recovery $(ARGS)

bench: setup-dev ## print engine CPU per task and hand-off latency
	$(BIN)/python -m tests.load.bench $(ARGS)

bench-arms: setup-dev ## print how arms elsewhere are routed to, and how soon trouble is over
	$(BIN)/python -m tests.load.arms $(ARGS)

bench-planner: setup-dev ## print how long planning takes, beside the targets
	$(BIN)/python -m tests.load.planner $(ARGS)
	$(BIN)/python -m tests.planner.cache_bench

bench-reflex: setup-dev ## print what /reflex/process costs, beside its target
	$(BIN)/python -m tests.load.reflex $(ARGS)

eval-planner: setup-dev ## score the recipes, or the configured model, on the goals in tests/evaluation
	$(BIN)/python -m tests.evaluation.planner $(ARGS)
	$(BIN)/python -m tests.planner.hit_rate

eval-reflex: setup-dev ## score the reflex on held-out and own rows; fail below the committed floors
	$(BIN)/python -m tests.evaluation.reflex $(ARGS)

lock: setup-dev ## write the lock files anew (hashes, no URLs)
	$(BIN)/uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --upgrade -o requirements.lock
	$(BIN)/uv pip compile -q pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --upgrade -o requirements-dev.lock
