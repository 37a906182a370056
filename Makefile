# The two commands of the README are `make demo` and `make test`; both prepare .venv first.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check soak simulate fuzz audit bench bench-peers lock proto clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: .venv/installed  ## create .venv and install everything from requirements.lock

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "requirements.lock is for Python 3.11 to 3.14; try make PYTHON=python3.13")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q ext_proc filters
	touch $@

demo: setup  ## the whole stack on loopback with sample traffic; stays up until Ctrl-C
	@$(BIN)/headrace demo $(ARGS)

test: setup  ## every test, through real Envoy and a real store; quicker with ARGS='-n 2 --dist loadfile'
	$(BIN)/coverage run -m pytest tests/core
	$(BIN)/coverage report
	$(BIN)/python -m pytest --ignore=tests/core $(ARGS)

check: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests

MINUTES ?= 60
soak: setup  ## an hour (MINUTES=60) of traffic while everything breaks; writes build/soak.json and plots beside it
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

simulate: setup  ## core, filters and stores in a world of one seed; STEPS=1000000, SEED=1
	$(BIN)/python -m tests.simulation --steps $(or $(STEPS),1000000) --seed $(or $(SEED),1) $(ARGS)

fuzz: setup  ## mutated requests through real Envoy; REQUESTS=100000, SEED= of an earlier run; writes build/fuzz.json
	$(BIN)/python -m tests.fuzz --requests $(or $(REQUESTS),100000) --seed "$(SEED)" $(ARGS)

audit: setup  ## ask the advisory database about requirements.lock; exit status 3 where it does not answer
	@$(BIN)/python -m tests.dependencies

bench: setup  ## bare Envoy, a no-op processor and Headrace side by side; writes build/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

bench-peers: setup  ## Headrace, LiteLLM, Portkey and LLM-Shield-Proxy before the same upstream; ARGS=--quick for one short round
	$(BIN)/python -m tests.bench.peers $(ARGS)

lock:  ## resolve the dependencies anew into requirements.lock (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes --no-header --quiet --upgrade --output-file requirements.lock

proto:  ## generate ext_proc/envoy/pb from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=ext_proc/envoy/pb --pyi_out=ext_proc/envoy/pb proto/*.proto

clean:  ## remove .venv and what was built
	rm -rf .venv .venv-audit build dist
