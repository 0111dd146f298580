# `make` alone prints this list. Every target makes its own environment first, when it is missing or stale.
#   EXTRAS=tensorflow  adds an extra to the environment (it stays)    PYTHON=python3.12  names the interpreter
#   ARGS="..."         is passed on: make test ARGS="tests/app", make serve ARGS="--port 9000"

BIN := .venv/bin
EXTRAS ?=
ARGS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env setup serve demo test test-faults soak lint check bench bench-peers docs lock names snapshot clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' Makefile | while read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

env:
	@sh scripts/setup.sh $(EXTRAS)

setup: env ## make or renew the environment in .venv, and nothing else
	@echo "trainyard: .venv is ready"

serve: env ## run everything on this machine: API, worker and broker
	$(BIN)/trainyard serve $(ARGS)

demo: env ## start a service of its own, train a small model, show the report
	$(BIN)/python -m app.cli.demo $(ARGS)

test: env ## the tests, less the slow ones, three at a time (ARGS="-n 0": one)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow" $(ARGS)

test-faults: env ## the slow tests: kills, restarts, full disks, long runs
	$(BIN)/python -m pytest -n 3 --dist worksteal -m slow --timeout 900 $(ARGS)

soak: env ## random kills against a running service (ARGS="--minutes 10 --seed 7 --database postgresql")
	$(BIN)/python -m tests.faults.soak $(ARGS)

lint: env ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## all that CI runs: lint, then test

bench: env ## the benchmarks, peers side by side
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: ## MLflow, albumentations, torchvision, Kornia in an environment of their own (ARGS="api augment")
	sh scripts/peers.sh $(ARGS)

docs: env ## the documentation with the API reference, in site/
	$(BIN)/mkdocs build $(ARGS)
	@echo "trainyard: open site/index.html"

lock: env ## resolve requirements.lock again (ARGS=--upgrade takes the newest versions)
	$(BIN)/uv pip compile --universal --python-version 3.11 --all-extras --no-annotate --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock $(ARGS) pyproject.toml

names: env ## list again which models the pinned timm has
	$(BIN)/python -m worker.training.names > build.names && mv build.names app/contract/timm_models.txt

snapshot: env ## write the public API's snapshot anew; then read the difference
	$(BIN)/python -m tests.architecture.renew

clean: ## remove the environment and everything that was built
	rm -rf .venv .venv.lock .venv-peers build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage .coverage.* htmlcov
	find app worker migrations tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
