PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
ADAPTERS := .venv-adapters/bin
ADAPTERS_INSTALLED := .venv-adapters/.installed

# Processes that a command starts share what Python has compiled, also where the environment forbids to keep it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test types tests test-adapters test-slow bench reliability museum transfer ui gallery clean

# Where runs are recorded, and what `make ui` shows: TRACKING=postgresql://USER@HOST/DATABASE, or sqlite:///FILE;
# `make run` also takes the address of an MLflow server.
TRACKING ?=

run: $(INSTALLED)  ## the main job, on real data
	$(BIN)/python -m runner scheme=xavier,he -m $(if $(TRACKING),'tracking.uri=$(TRACKING)')

test: $(INSTALLED)  ## lint, import contract, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory --jobs 2 types tests

types: $(INSTALLED)
	$(BIN)/mypy

# Many tests wait for other processes: types are checked meanwhile.
tests: $(INSTALLED)
	$(BIN)/pytest -n 2 --dist worksteal

test-adapters: $(ADAPTERS_INSTALLED)  ## tests that need PyTorch, Keras or JAX, in an environment of their own
	KERAS_BACKEND=jax $(ADAPTERS)/python -m pytest tests/adapters

test-slow: $(INSTALLED)  ## longer studies
	$(BIN)/pytest -m slow

bench: $(INSTALLED)  ## speed, as ratios in one run
	$(BIN)/python -m tests.benchmarks

reliability: $(INSTALLED)  ## faults that the lab survives, tried and counted
	$(BIN)/python docs/reliability.py

museum: $(ADAPTERS_INSTALLED)  ## docs/museum.md: real faults of initialization, audited beside their mended twins
	KERAS_BACKEND=jax $(ADAPTERS)/python docs/museum.py

RATES := 0.000244140625,0.00048828125,0.0009765625,0.001953125,0.00390625,0.0078125,0.015625,0.03125,0.0625,0.125
DEPTHS := architecture=residual_mlp architecture.norm=layer architecture.width=64 architecture.depth=2,4,8,16,32

transfer: $(INSTALLED)  ## the study of best learning rates over width and over depth
	$(BIN)/python -m runner experiment=transfer architecture.width=64,128,256,512,1024 optimizer.learning_rate=$(RATES) 'seed=range(0,5)'
	$(BIN)/python -m runner experiment=transfer $(DEPTHS) scheme=he,mup,completep optimizer.learning_rate=$(RATES) 'seed=range(0,5)'
	$(BIN)/python -m runner experiment=transfer $(DEPTHS) scheme=he,depth_mup architecture.branch_layers=1 optimizer.learning_rate=$(RATES) 'seed=range(0,5)'

ui: $(INSTALLED)  ## the MLflow UI on http://localhost:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri $(if $(TRACKING),'$(subst postgresql://,postgresql+psycopg://,$(TRACKING))',sqlite:///outputs/mlflow.db)

gallery: $(INSTALLED)  ## outputs and pictures of the documentation, by the commands it shows
	$(BIN)/python docs/remake.py

clean:
	rm -rf .venv .venv-adapters

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore::UserWarning $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(ADAPTERS_INSTALLED): pyproject.toml constraints-adapters.txt
	$(PYTHON) -m venv .venv-adapters
	$(ADAPTERS)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore::UserWarning $(ADAPTERS)/python -m pip install --quiet --constraint constraints-adapters.txt --editable '.[adapters]'
	touch $@
