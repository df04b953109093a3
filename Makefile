# make demo | make test: everything from a fresh clone. The preflight says what lacks, in one line.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE ?=
KEEP ?=
OFFLINE ?=
REPORT ?=
ENVIRONMENTS ?=
WHAT ?=
ROWS ?=
JSON ?=
RECORD ?=
ARGS ?=
AT_ONCE ?= 2

.PHONY: demo test sim lint types bench bench-ci evidence clean setup

demo: setup
	@"$(BIN)/pyrsia" demo $(if $(PACKAGE),--package "$(PACKAGE)") $(if $(KEEP),--keep) $(if $(OFFLINE),--offline) $(foreach name,$(ENVIRONMENTS),--environment $(name)) $(if $(REPORT),--report "$(REPORT)")

# AT_ONCE=1 runs one test file after the other. Every node and command that a test starts is a process: compiled
# before, it starts with half of the work where the environment has Python keep nothing that it compiles.
test: setup
	@"$(BIN)/python" -m compileall -q -j 0 pyrsia tui tests
	@"$(BIN)/pytest" -q -n $(AT_ONCE) --dist loadfile

# Simulated networks: make sim ARGS='--seeds 10000 --first 1 --nodes 4..10 --byzantine f' (docs/simulator.md).
sim: setup
	@PYTHONPATH=. "$(BIN)/python" -m tests.sim $(ARGS)

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml setup.py $(wildcard pyrsia/_native/*.pyx pyrsia/_native/*.h) tools/preflight.sh tools/setup.sh
	@PYTHON="$(PYTHON)" sh tools/preflight.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh tools/setup.sh

lint: setup
	@"$(BIN)/ruff" check . && "$(BIN)/ruff" format --check . && "$(BIN)/lint-imports"

types: setup
	@"$(BIN)/mypy"

# ROWS=merkle takes the rows whose name has this in it; JSON=FILE keeps every row as a line of JSON;
# RECORD=1 makes the ratios the accepted ones (bench/recorded.json, docs/performance.md).
BENCH = "$(BIN)/pytest" -q -o faulthandler_timeout=1800 bench $(if $(ROWS),--bench-rows "$(ROWS)") $(if $(JSON),--bench-json "$(JSON)")

bench: setup
	@$(BENCH) --bench=all $(if $(RECORD),--bench-record)

bench-ci: setup
	@$(BENCH) --bench=ci

evidence: setup
	@BIN="$(BIN)" sh tools/evidence.sh $(WHAT)

clean:
	@rm -rf "$(VENV)" build *.egg-info pyrsia/_native/*.so pyrsia/_native/*.c
