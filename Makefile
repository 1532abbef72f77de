PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install up ps model lint format test test-export requirements clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

up:  ## start the whole platform on this machine and label sample photos; MODEL= insists on one
	$(PYTHON) -m standalone.install
	$(BIN)/python -m standalone up $(if $(MODEL),--model $(MODEL))

ps:  ## list the processes of the running platform
	$(BIN)/python -m standalone ps

# Each variable is the exporter's option of the same name.
OPTIONS := MODEL PRETRAINED CHECKPOINT RUNTIME PRECISION CALIBRATION PHOTOS
option = $(if $($(1)),--$(shell echo $(1) | tr A-Z a-z) "$($(1))")
model:  ## export CLIP for Triton and serve it from then on: MODEL= CHECKPOINT= RUNTIME= PRECISION= ...
	$(PYTHON) -m standalone.install --export
	.venv-export/bin/python -m build.export_tensorrt $(foreach name,$(OPTIONS),$(call option,$(name)))

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

test-export: install  ## the model export, and the starter held against its origins (installs PyTorch)
	$(PYTHON) -m standalone.install --export
	$(BIN)/pytest tests/build

# Resolved for every supported Python at once; no index is written down, so mirrors work.
OLDEST := --python-version 3.10
COMPILE := uv pip compile --universal --generate-hashes \
	--no-header --no-emit-index-url --quiet
requirements:  ## resolve requirements/*.in again (needs uv)
	$(COMPILE) $(OLDEST) requirements/platform.in -o requirements/platform.txt
	$(COMPILE) $(OLDEST) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) $(OLDEST) --no-deps requirements/triton.in -o requirements/triton.txt
	$(COMPILE) $(OLDEST) requirements/export.in -o requirements/export.txt
	$(COMPILE) --no-deps --python-version 3.12 requirements/standalone.in -o requirements/standalone.txt

clean:  ## remove environments and caches; the data folder stays
	rm -rf .venv .venv-triton .venv-export .kafka .tools .mypy_cache .ruff_cache
