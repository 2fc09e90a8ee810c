# The project's commands. Each sets up what it needs in .venv, from nothing; a second time that is instant.
#   make demo [ARGS=--no-tui]   train a small model here, live
#   make test [ARGS=…]          the whole test suite          make lint    ruff, mypy, cargo fmt, clippy
#   make bench                  every claim of speed, as a table
#   make demo TORCH=cpu         take PyTorch's small CPU build instead of the default one

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

VENV  := .venv
BIN   := $(VENV)/bin
ARGS  ?=
TORCH ?= default
JOBS  ?= 2
DEV   := .[test,lint]
CRATES := rustbpe nanochat/infer/decode_kernel
BUILD := pyproject.toml constraints.txt $(foreach c,$(CRATES),$(wildcard $c/Cargo.toml $c/src/*.rs $c/src/*/*.rs))

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

$(BIN)/python:
	@found=; for python in "$${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'Python 3.11 or newer is missing. Get it with your package manager (apt install python3 python3-venv,'; \
	  echo 'brew install python) or from https://www.python.org/downloads/, then run make again.'; exit 1; fi; \
	if ! "$$found" -m venv $(VENV); then rm -rf $(VENV); \
	  echo "$$found cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv."; exit 1; fi

# What only some targets need is checked here, so that the error names the target's own lack.
define need_rust
@command -v cargo >/dev/null || { \
  echo 'Rust is missing: the tokenizer trainer is built from source. Get it from https://rustup.rs (one command,'; \
  echo 'no root), open a new shell, then run make again.'; exit 1; }
@command -v cc >/dev/null || { echo 'A C compiler is missing (cc). On Debian or Ubuntu: apt install gcc.'; exit 1; }
endef

define install
@if [ "$(TORCH)" = cpu ] && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
  $(BIN)/python -m pip install --quiet torch --index-url https://download.pytorch.org/whl/cpu; fi
@echo 'Setting up $(VENV): $(1) (the first time takes a few minutes: PyTorch is large)…'
@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '$(1)'
endef

$(VENV)/.demo: $(BUILD) | $(BIN)/python
	$(need_rust)
	$(call install,.)
	@touch $@

$(VENV)/.dev: $(BUILD) | $(BIN)/python
	$(need_rust)
	$(call install,$(DEV))
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## train a small language model here, live in the control room (ARGS=--no-tui: headless)
	@$(BIN)/nanochat demo $(ARGS)

test: $(VENV)/.dev ## the whole test suite
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy --strict, cargo fmt, clippy
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@for crate in $(CRATES); do \
	  cargo fmt --manifest-path $$crate/Cargo.toml --check; \
	  cargo clippy --quiet --manifest-path $$crate/Cargo.toml --all-targets -- -D warnings; done

bench: $(VENV)/.dev ## every claim of speed, measured now, as tables
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean: ## remove what was built; never what was trained
	rm -rf $(VENV) .cache build dist $(addsuffix /target,$(CRATES)) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find nanochat remote tui rustbpe tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f rustbpe/*.so .coverage .coverage.*
