# Every target sets up what it needs first (scripts/setup.sh); what is already done is skipped.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo replay bench test lint format clean

PACKAGE := ros_ws/src/clip_rl_perception
PYTHON_SOURCES := $(PACKAGE) training tests scripts
# Given on the command line: make demo VIDEO=operation.mp4 TRANSPORT=compressed
VIDEO ?=
BAG ?=
TRANSPORT ?=
OUT ?=
# make replay BAG=operation RATE=0.5 LABELS=masks LABEL_MAP=map.yaml LOCKSTEP=1
RATE ?= 1.0
LABELS ?=
LABEL_MAP ?=
LOCKSTEP ?=
# Paths reach the recipes through the environment, as they were typed: quotes and dollars are characters of names.
PATHS := VIDEO BAG LABELS LABEL_MAP OUT
$(foreach name,$(PATHS),$(eval override $(name) := $$(value $(name))))
export $(PATHS)
# More arguments for clip-rl bench: make bench BENCH="--rounds 50"
BENCH ?=
BENCH_PAGE := --page docs/results/performance.md --prose docs/results/performance-notes.md
# More arguments for pytest: make test PYTEST="tests/perception -k labels"
PYTEST ?=
# Test files at a time; each process takes up to 4 GB: make test WORKERS=1
WORKERS ?= 2
# In a process of its own: it starts and ends workers, and signals whole processes.
TRAINING_TESTS := tests/training/loop/test_train.py

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  Variables: PYTHON=python3.12  TORCH=cpu|cuda  ROS=auto|jazzy|kilted|none (docs/setup.md)'

setup: ## Make .venv, get ROS 2 where none is sourced, build the workspace
	@PYTHON='$(PYTHON)' TORCH='$(TORCH)' ROS='$(ROS)' scripts/setup.sh

demo: setup ## Film to masks through ROS 2; VIDEO=file|folder, BAG=folder, TRANSPORT=raw|compressed, OUT=out/demo
	@. scripts/env.sh && clip-rl demo $(if $(VIDEO),--video "$$VIDEO") $(if $(BAG),--bag "$$BAG") \
	  $(if $(TRANSPORT),--transport '$(TRANSPORT)') --out "$${OUT:-out/demo}"

replay: setup ## A recording through the node, and a report; BAG=folder, RATE=1.0, LABELS=folder, LOCKSTEP=1, OUT=out/replay
	@[ -n "$$BAG" ] || { echo 'make replay: name a recording, for example make replay BAG=operation' >&2; exit 2; }
	@. scripts/env.sh && clip-rl replay "$$BAG" --online --speed '$(RATE)' $(if $(LABELS),--labels "$$LABELS") \
	  $(if $(LABEL_MAP),--label-map "$$LABEL_MAP") $(if $(LOCKSTEP),--lockstep) --out "$${OUT:-out/replay}"

# Building engines and rendering frames come first: what is measured is measured on a machine that has nothing else to do.
bench: setup ## Time engines, peers and the node: docs/results/performance.md, out/bench/report.json; BENCH="--rounds 50"
	@. scripts/env.sh && clip-rl bench --prepare $(BENCH) && clip-rl bench $(BENCH) $(BENCH_PAGE) && \
	  if [ "$$(cat .venv/.clip_rl/ros)" != none ]; then clip-rl bench --node $(BENCH) $(BENCH_PAGE); fi

# A DDS domain of its own, so that nothing else on the network gets into the tests (domains up to 101 are safe on Linux).
test: setup ## Run the tests with coverage, that of the processes they start too
	@. scripts/env.sh && export ROS_DOMAIN_ID=$${ROS_DOMAIN_ID:-$$((RANDOM % 90 + 10))} && \
	  ignore=$$([ "$$(cat .venv/.clip_rl/ros)" != none ] || echo --ignore=tests/ros) && \
	  if [ -n '$(PYTEST)' ]; then python -m pytest --cov --cov-report=term:skip-covered $$ignore $(PYTEST); else \
	    python -m pytest -n $(WORKERS) --dist loadfile --durations=20 --cov --cov-report= $$ignore --ignore=$(TRAINING_TESTS) && \
	    python -m pytest --cov --cov-append --cov-report=term:skip-covered $(TRAINING_TESTS); fi

lint: setup ## Style, types, shell scripts
	@. .venv/bin/activate && ruff check $(PYTHON_SOURCES) && ruff format --check $(PYTHON_SOURCES) && mypy && \
	  if command -v shellcheck >/dev/null; then shellcheck -x -P SCRIPTDIR scripts/*.sh .ci/run; fi

format: setup ## Write the sources as `make lint` wants them
	@. .venv/bin/activate && ruff check --fix $(PYTHON_SOURCES); ruff format $(PYTHON_SOURCES)

clean: ## Remove what was built and written: .venv, the workspace's build, out/
	rm -rf .venv ros_ws/build ros_ws/install ros_ws/log out .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* *.egg-info
