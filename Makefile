# Two commands on a fresh machine: make demo, make test. Both install what they need into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LABEL_STUDIO ?= .label-studio
LABEL_STUDIO_STAMP := $(LABEL_STUDIO)/.installed
S3 ?= .s3
S3_STAMP := $(S3)/.installed
MLFLOW ?= .mlflow
MLFLOW_STAMP := $(MLFLOW)/.installed
WORKERS ?= 2
TRITON ?= .triton
MLSERVER ?= .mlserver
SCHEMATHESIS ?= .schemathesis

.PHONY: help demo test check label-studio s3 mlflow triton mlserver schemathesis format docs bench bench-strategies bench-table2 bench-kills study-strategies install clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Foresift needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

install: $(STAMP)  ## create .venv with everything

demo: $(STAMP)  ## the whole idea on the digits, in about a minute
	$(BIN)/foresift demo

test: $(STAMP)  ## all tests, in two processes with one thread each; WORKERS=8 for more
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

check: $(STAMP)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(LABEL_STUDIO_STAMP): tests/label_studio/requirements.txt
	test -x $(LABEL_STUDIO)/bin/python || $(PYTHON) -m venv $(LABEL_STUDIO)
	$(LABEL_STUDIO)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/label_studio/requirements.txt
	touch $(LABEL_STUDIO_STAMP)

label-studio: $(LABEL_STUDIO_STAMP)  ## a Label Studio server of its own for the tests of that oracle (about 1 GB)
	@echo "now: export FORESIFT_LABEL_STUDIO=$(abspath $(LABEL_STUDIO))/bin/label-studio; make test"

$(MLFLOW_STAMP): tests/mlflow-server/requirements.txt
	test -x $(MLFLOW)/bin/python || $(PYTHON) -m venv $(MLFLOW)
	$(MLFLOW)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/mlflow-server/requirements.txt
	touch $(MLFLOW_STAMP)

mlflow: $(MLFLOW_STAMP)  ## an MLflow server of its own for the tests of the mirror to it (850 MB)
	@echo "now: export FORESIFT_MLFLOW=$(abspath $(MLFLOW))/bin/mlflow; make test"

$(S3_STAMP): tests/s3/requirements.txt
	test -x $(S3)/bin/python || $(PYTHON) -m venv $(S3)
	$(S3)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/s3/requirements.txt
	touch $(S3_STAMP)

s3: $(S3_STAMP)  ## an S3-compatible server of its own for the tests of buckets (about 300 MB)
	@echo "now: export FORESIFT_S3=$(abspath $(S3))/bin/moto_server; make test"

$(TRITON)/.installed: tests/engines/servers/triton.txt
	test -x $(TRITON)/bin/python || $(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

triton: $(TRITON)/.installed  ## a Triton server of its own for the tests of served models (about 450 MB)
	@echo "now: export FORESIFT_TRITON=$(abspath $(TRITON))/bin/python; make test"

$(MLSERVER)/.installed: tests/engines/servers/mlserver.txt
	test -x $(MLSERVER)/bin/python || $(PYTHON) -m venv $(MLSERVER)
	$(MLSERVER)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

mlserver: $(MLSERVER)/.installed  ## an MLServer of its own for the tests of served models
	@echo "now: export FORESIFT_MLSERVER=$(abspath $(MLSERVER))/bin/python; make test"

$(SCHEMATHESIS)/.installed: tests/service/schemathesis.txt
	test -x $(SCHEMATHESIS)/bin/python || $(PYTHON) -m venv $(SCHEMATHESIS)
	$(SCHEMATHESIS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

schemathesis: $(SCHEMATHESIS)/.installed  ## Schemathesis for the tests of the HTTP interface (about 100 MB)
	@echo "now: export FORESIFT_SCHEMATHESIS=$(abspath $(SCHEMATHESIS))/bin/schemathesis; make test"

format: $(STAMP)  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)  ## rewrite the reference pages that follow from the code
	$(BIN)/python -m foresift.cli.reference > docs/reference/commands.md
	$(BIN)/python -m foresift.cli.strategy_reference > docs/reference/strategies.md

bench: $(STAMP)  ## speed and memory, each against a stated limit, in one run (about an hour)
	$(BIN)/python -m benchmarks

bench-strategies: $(STAMP)  ## every strategy against its peers, and at a million rows (hours)
	$(BIN)/python -m benchmarks.strategies

bench-table2: $(STAMP)  ## from files and URLs to ids beside a bare loop and three peers, ResNet-18 at 32 and 224 px (an hour)
	$(BIN)/python -m benchmarks.table2

bench-kills: $(STAMP)  ## runs killed with -9 at 50 random moments end as if undisturbed (a quarter of an hour)
	$(BIN)/python -m benchmarks.kills

study-strategies: $(STAMP)  ## every strategy against random on CIFAR-10 and Caltech-101 (under three hours)
	$(BIN)/foresift study strategies --out study-strategies

clean:  ## remove .venv and caches
	rm -rf $(VENV) $(LABEL_STUDIO) $(S3) $(MLFLOW) $(TRITON) $(MLSERVER) $(SCHEMATHESIS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
