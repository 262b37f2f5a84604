# `make` regenerates the study that config.yaml names; .ci/run says which targets CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORES ?= all
REFERENCE := results/reference
FIGURES := paper_figures
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := study
.PHONY: study report figures verify test twice check bench bench-rounds bench-igsa unlock lock clean help

study: $(READY) ## run the study of config.yaml: fills results/ and paper_figures/
	snakemake --profile workflow/profiles/default --cores $(CORES)

report: $(READY) ## the study of config.yaml as one HTML file: results/<study>/report.html
	snakemake --profile workflow/profiles/default --cores $(CORES) report

figures: $(READY) ## every table, figure and claim from results/reference, and theory and survey: no GPU, no data
	gradleak verify $(REFERENCE) --cells 0
	@$(MAKE) --no-print-directory --jobs 4 theory claims survey tables drawings
	@gradleak report --study-folder $(REFERENCE) --figures $(FIGURES)/reference --theory $(FIGURES)/theory \
	  --survey $(FIGURES)/survey --captions workflow/report --out $(FIGURES)/reference/report.html > /dev/null
	@echo "wrote $(FIGURES)/reference with report.html, $(FIGURES)/theory and $(FIGURES)/survey"

verify: $(READY) ## compute a random sample of the cells of results/reference again and compare; needs their data
	gradleak verify $(REFERENCE)

# What `make figures` does at once. Claims read what theory writes.
FROM_REFERENCE := --plan $(REFERENCE)/plan.json --results $(REFERENCE)/results.parquet --out $(FIGURES)/reference
.PHONY: theory claims survey tables drawings
theory:
	@gradleak theory --out $(FIGURES)/theory > /dev/null
claims: theory
	@gradleak claims $(FROM_REFERENCE) --csv $(FIGURES)/theory > /dev/null
survey:
	@gradleak survey --out $(FIGURES)/survey > /dev/null
tables:
	@gradleak tables $(FROM_REFERENCE) > /dev/null
drawings:
	@gradleak figures $(FROM_REFERENCE) > /dev/null

# One process more than there are cores: the tests of SLURM wait much.
test: $(READY) ## run the tests
	PYTEST_XDIST_AUTO_NUM_WORKERS=$$(($$(getconf _NPROCESSORS_ONLN) + 1)) python -m pytest

twice: $(READY) ## run the study `quick` in two folders and compare all bytes
	python -m pytest -m twice -n 0 -s tests/workflow/test_quick_twice.py

check: $(READY) ## formatting, lint, types, workflow lint
	ruff format --check src tests envs
	ruff check src tests envs
	snakefmt --check Snakefile workflow
	mypy
	snakemake --lint

bench: $(READY) ## speed against the peer framework, in an environment of its own
	python tests/benchmarks/against_breaching.py

bench-rounds: $(READY) ## speed of attacks on several checkpoints in one pass against a pass for each
	python tests/benchmarks/rounds.py

bench-igsa: $(READY) ## IGSA by each estimator: value, interval, seconds
	python tests/benchmarks/igsa.py --radii 1e-5 1e-4 1e-3

unlock: $(READY) ## after a run was killed hard: release Snakemake's lock on this folder
	snakemake --unlock

lock: $(READY) ## pin what is installed now, for pip and for conda
	( sed -n 1p envs/requirements.txt; pip freeze --exclude-editable | sed 's/+cpu$$//' ) > envs/requirements.new
	mv envs/requirements.new envs/requirements.txt
	python envs/conda.py

clean: ## remove results and figures of studies (results/reference stays)
	find results -mindepth 1 -maxdepth 1 ! -name reference ! -name .gitkeep -exec rm -r {} +
	find paper_figures -mindepth 1 -maxdepth 1 ! -name .gitkeep -exec rm -r {} +

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(READY): envs/requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gradleak needs CPython >= 3.11; set one with make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement envs/requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@
