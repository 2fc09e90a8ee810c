# The project's commands. Each sets up what it needs in .venv, from nothing; a second time that is instant.
#   make demo [ARGS=--no-tui]   train a small model here, live
#   make test [ARGS=…]          the whole test suite          make lint    ruff, mypy, cargo fmt, clippy
#   make test-fast [ARGS=…]     without the slow tests        make bench   every claim of speed, as a table
#   make fuzz [ARGS=…]          a million broken inputs over every reader of foreign bytes
#   make fuzz-requests [ARGS=…] a hundred thousand broken requests to the server
#   make chaos [ARGS=…]         every step of saving fails in turn, in every stage
#   make soak [ARGS=…]          ten minutes of clients of the server that come and go
#   make nightly                the long forms of all of these
#   make pictures               docs/images from the running app, over a demo
#   make wheel [DIST=dist]      a wheel for machines with no Rust and no compiler
#   make demo TORCH=cpu         take PyTorch's small CPU build instead of the default one

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast fuzz fuzz-requests chaos soak nightly pictures lint bench bench-crate wheel clean

VENV  := .venv
BIN   := $(VENV)/bin
ARGS  ?=
DIST  ?= dist
TORCH ?= default
# Twice as many as two cores can run: many tests wait for an agent, a host or a clock.
JOBS  ?= 4
DEV   := .[test,lint,wheel]
CRATES := rustbpe nanochat/infer/decode_kernel
BUILD := pyproject.toml constraints.txt .make/toolchain.py \
  $(foreach c,$(CRATES),$(wildcard $c/Cargo.toml $c/src/*.rs $c/src/*/*.rs))
# Rust and a linker, where the machine has none (docs/setup.md).
export PATH := $(abspath $(VENV)/toolchain):$(PATH)
# Images of containers often set it; the tests start a thousand Pythons, and each would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

$(BIN)/python:
	@found=; for python in "$${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'Python 3.11 or newer is missing: get it with your package manager (apt install python3 python3-venv,' \
	    'brew install python) or from https://www.python.org/downloads/, then run make again.' >&2; exit 1; fi; \
	if ! "$$found" -m venv $(VENV); then rm -rf $(VENV); \
	  echo "$$found cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv." >&2; exit 1; fi

define install
@$(BIN)/python .make/toolchain.py
@if [ "$(TORCH)" = cpu ] && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
  $(BIN)/python -m pip install --quiet torch --index-url https://download.pytorch.org/whl/cpu; fi
@echo 'Setting up $(VENV): $(1) (the first time takes a few minutes: PyTorch is large)…'
@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '$(1)'
endef

$(VENV)/.demo: $(BUILD) | $(BIN)/python
	$(call install,.)
	@touch $@

$(VENV)/.dev: $(BUILD) | $(BIN)/python
	$(call install,$(DEV))
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## train a small language model here, live in the control room (ARGS=--no-tui: headless)
	@$(BIN)/nanochat demo $(ARGS)

test: $(VENV)/.dev ## the whole test suite
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-fast: $(VENV)/.dev ## the test suite without its slow tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

fuzz: $(VENV)/.dev ## a million broken inputs over every reader of foreign bytes; prints the counts
	@$(BIN)/python tests/fuzz/fuzz.py $(ARGS)

fuzz-requests: $(VENV)/.dev ## a hundred thousand broken requests to the server's endpoints; prints the counts
	@$(BIN)/python tests/fuzz/fuzz_requests.py $(ARGS)

chaos: $(VENV)/.dev ## every step of saving fails in turn, in every stage (docs/reliability.md)
	@NANOCHAT_CHAOS=long $(BIN)/python -m pytest -n $(JOBS) tests/nanochat/stages/test_chaos.py $(ARGS)

soak: $(VENV)/.dev ## ten minutes of fifty clients of the server that come and go
	@NANOCHAT_SOAK=10 $(BIN)/python -m pytest tests/nanochat/serve/ecosystem/test_soak.py $(ARGS)

nightly: ## lint, the whole suite with its coverage, and the long forms of what it has a part of
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test ARGS="--cov --cov-report=term"
	@$(MAKE) --no-print-directory chaos fuzz fuzz-requests soak
	@NANOCHAT_TOKENIZER=long $(BIN)/python -m pytest -n $(JOBS) tests/nanochat/commands/test_tok_export.py $(ARGS)
	@NANOCHAT_ENGINE=long $(BIN)/python -m pytest -n $(JOBS) tests/nanochat/infer/test_prefix_cache.py $(ARGS)

pictures: $(VENV)/.dev ## the pictures of docs/images, taken from the running app over a demo (ARGS=--base DIR: over that; docs/pictures.md)
	@$(BIN)/python docs/make_pictures.py $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy --strict, cargo fmt, clippy
	@$(BIN)/python .make/toolchain.py --lint
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@MYPYPATH=.make $(BIN)/mypy .make/*.py
	@for crate in $(CRATES); do \
	  cargo fmt --manifest-path $$crate/Cargo.toml --check; \
	  cargo clippy --quiet --manifest-path $$crate/Cargo.toml --all-targets -- -D warnings; done
	@cargo fmt --manifest-path rustbpe/benches/Cargo.toml --check

bench: $(VENV)/.dev ## every claim of speed, measured now, as tables
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script; done

bench-crate: $(VENV)/.dev ## criterion's benches of the Rust crate (ARGS="-- encode": some of them)
	@cargo bench --manifest-path rustbpe/benches/Cargo.toml $(ARGS)

wheel: | $(BIN)/python ## a wheel for machines with no Rust and no compiler, in dist/
	@$(BIN)/python .make/toolchain.py
	@$(BIN)/python .make/build_wheel.py --out $(DIST)

clean: ## remove what was built; never what was trained
	rm -rf $(VENV) .cache build dist $(addsuffix /target,$(CRATES) rustbpe/benches) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find nanochat remote tui rustbpe tests .make -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f rustbpe/*.so .coverage .coverage.*
