# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0

# The Python that the virtual environment is made with.
PYTHON ?= python3
# What `make demo` works on; empty: a rendered scene with a known truth, and the model that is bundled.
VIDEO ?=
TEXT ?=
CHECKPOINT ?=
OUT ?=
# What `make follow-demo` tells the robot; empty: a script.
SAY ?=
RUNTIME ?=
PRECISION ?=
# The address of a further package index for pip to find PyTorch in, for example that of its CPU builds.
TORCH_INDEX ?=
export TORCH_INDEX VIDEO TEXT CHECKPOINT OUT SAY RUNTIME PRECISION

ENVIRONMENT := $(CURDIR)/.venv
# What a sourced workspace sets.
IN_ENVIRONMENT := OMP_WAIT_POLICY=PASSIVE PATH="$(ENVIRONMENT)/bin:$$PATH" \
  AMENT_PREFIX_PATH="$(ENVIRONMENT)$${AMENT_PREFIX_PATH:+:$$AMENT_PREFIX_PATH}" \
  LD_LIBRARY_PATH="$(ENVIRONMENT)/lib$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"

# Each file's tests stay in one process: what they share is made once. Tests of nodes and of speech
# wait for time to pass, so that two cores have work for three processes of one thread each.
# A process that crashes ends the run: with another in its place, the run may never end.
PYTEST := OMP_NUM_THREADS=1 python -m pytest --numprocesses 3 --dist loadfile \
  --no-loadscope-reorder --max-worker-restart 0

.DEFAULT_GOAL := help
.PHONY: help setup demo replay-demo follow-demo test test-fast coverage test-oldest lint format docs clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup:  ## set everything up in .venv (the other targets set up what they need by themselves)
	@"$(PYTHON)" setup/prepare.py

demo:  ## camera, node and commander on a live ROS 2 graph; VIDEO=, TEXT=, CHECKPOINT=, RUNTIME=, PRECISION=, OUT= to change it
	@"$(PYTHON)" setup/prepare.py --for demo $${RUNTIME:+--runtime "$$RUNTIME"}
	@$(IN_ENVIRONMENT) python -m demo \
	  $${VIDEO:+--video "$$VIDEO"} $${TEXT:+--text "$$TEXT"} \
	  $${CHECKPOINT:+--checkpoint "$$CHECKPOINT"} $${OUT:+--out "$$OUT"} \
	  $${RUNTIME:+--runtime "$$RUNTIME"} $${PRECISION:+--precision "$$PRECISION"}

replay-demo:  ## a bag from the world, replayed, scored and reported; RUNTIME=, PRECISION=, CHECKPOINT=, OUT= to change it
	@"$(PYTHON)" setup/prepare.py --for replay-demo $${RUNTIME:+--runtime "$$RUNTIME"}
	@$(IN_ENVIRONMENT) python -m referdino_core.cli.replay_demo $${OUT:+--out "$$OUT"} -- \
	  $${CHECKPOINT:+--checkpoint "$$CHECKPOINT"} \
	  $${RUNTIME:+--runtime "$$RUNTIME"} $${PRECISION:+--precision "$$PRECISION"}

follow-demo:  ## a simulated robot follows what sentences say, on a live ROS 2 graph; SAY=, OUT= to change it
	@"$(PYTHON)" setup/prepare.py --for follow-demo
	@$(IN_ENVIRONMENT) python -m demo.follow $${SAY:+--say "$$SAY"} $${OUT:+--out "$$OUT"}

test: lint  ## set up, check the style and the types, and run every test, in three processes
	@$(IN_ENVIRONMENT) $(PYTEST)

test-fast: setup  ## the quick tests: no large models, compilers, nodes, browsers
	@$(IN_ENVIRONMENT) $(PYTEST) -m "not slow and not ros and not browser and not gpu"

coverage: setup  ## every test, and which lines they run: build/coverage/html
	@$(IN_ENVIRONMENT) $(PYTEST) --cov --cov-report=term:skip-covered \
	  --cov-report=html:build/coverage/html

test-oldest:  ## tests of the core with Python 3.10 and the oldest releases; OLDEST_PYTHON= names the interpreter
	@"$(PYTHON)" setup/oldest_versions.py

lint: setup  ## check formatting, style, types and layers
	@$(IN_ENVIRONMENT) python -m ruff format --check
	@$(IN_ENVIRONMENT) python -m ruff check
	@$(IN_ENVIRONMENT) python -m mypy
	@$(IN_ENVIRONMENT) lint-imports --no-logo

format: setup  ## format the code
	@$(IN_ENVIRONMENT) python -m ruff format
	@$(IN_ENVIRONMENT) python -m ruff check --fix

docs:  ## build the documentation site in build/site; broken links fail
	@"$(PYTHON)" setup/prepare.py --for docs
	@$(IN_ENVIRONMENT) NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict

clean:  ## remove what tests, demo and colcon leave behind (.venv stays)
	rm -rf build install log out .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
