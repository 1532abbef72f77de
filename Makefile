PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install up ps lint format test test-parity requirements clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

up:  ## start the whole platform on this machine and label sample photos
	$(PYTHON) -m standalone.install
	$(BIN)/python -m standalone up

ps:  ## list the processes of the running platform
	$(BIN)/python -m standalone ps

install:  ## environments of the platform and of its tests, in .venv and .venv-triton
	$(PYTHON) -m standalone.install --dev

lint: install  ## ruff, mypy --strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install  ## every test, on real services that it starts itself; TESTS= narrows it
	$(BIN)/pytest $(TESTS)

test-parity: install  ## hold the starter's towers against timm and transformers (installs PyTorch)
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/pip install --quiet --no-deps --require-hashes -r requirements/parity.txt
	$(BIN)/pytest tests/build/test_starter_parity.py

# Resolved for every supported Python at once; no index is written down, so mirrors work.
OLDEST := --python-version 3.10
COMPILE := uv pip compile --universal --generate-hashes \
	--no-header --no-emit-index-url --quiet
requirements:  ## resolve requirements/*.in again (needs uv)
	$(COMPILE) $(OLDEST) requirements/platform.in -o requirements/platform.txt
	$(COMPILE) $(OLDEST) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) $(OLDEST) --no-deps requirements/triton.in -o requirements/triton.txt
	$(COMPILE) $(OLDEST) requirements/parity.in -o requirements/parity.txt
	$(COMPILE) --no-deps --python-version 3.12 requirements/standalone.in -o requirements/standalone.txt

clean:  ## remove environments and caches; the data folder stays
	rm -rf .venv .venv-triton .venv-parity .kafka .tools .mypy_cache .ruff_cache
