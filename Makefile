# `make` regenerates the study that config.yaml names; .ci/run says which targets CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORES ?= all
# The archive that `make figures` and `make verify` read. What it draws lies in a folder of the archive's name.
REFERENCE := results/reference
# How long `make extend` goes on, and after how much of that it archives what it has.
MINUTES := 600
PART := 60
FIGURES := paper_figures
# What `make bench-engine` compares with, and where `make bench-gpu` writes.
BASE := HEAD
OUT := results/gpu
export REFERENCE FIGURES CORES MINUTES PART
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# An environment holds the path of its own folder: where a checkout was copied or moved it is made anew.
ifeq ($(shell grep -qsF "$$(cd $(VENV) 2> /dev/null && pwd -P)/bin/python" $(BIN)/gradleak || echo elsewhere),elsewhere)
.PHONY: $(READY)
CLEAR := --clear
endif

# Snakemake and matplotlib keep caches in the home folder. One that is missing or cannot be written has a stand-in here.
ifneq ($(shell home="$${HOME:-/nosuch}"; cache="$${XDG_CACHE_HOME:-$$home/.cache}"; [ -w "$$cache" ] \
  || { [ ! -e "$$cache" ] && [ -w "$$home" ]; } && echo writable),writable)
export HOME := $(CURDIR)/.cache/home
export XDG_CACHE_HOME := $(HOME)/.cache
endif

.DEFAULT_GOAL := study
.PHONY: study report figures extend verify test twice check bench bench-engine bench-gpu bench-rounds bench-igsa unlock lock clean help

study: cores $(READY) ## run the study of config.yaml: fills results/ and paper_figures/, and says what it found
	$(SNAKEMAKE) $(UNLESS_LOCKED)
	@gradleak summary

report: cores $(READY) ## the study of config.yaml as one HTML file: results/<study>/report.html
	$(SNAKEMAKE) report $(UNLESS_LOCKED)

.PHONY: cores
cores:
	@[ "$$CORES" = all ] || [ "$$CORES" -ge 1 ] 2> /dev/null \
	  || { echo "make: CORES is '$$CORES'; allowed: all, or a whole number from 1 up" >&2; exit 2; }

SNAKEMAKE := snakemake --profile workflow/profiles/default --cores "$$CORES"
# Snakemake takes its lock away itself, unless it was killed or another one holds it.
UNLESS_LOCKED := || { code=$$?; [ -z "$$(ls -A .snakemake/locks 2> /dev/null)" ] || echo "make: this folder is locked;\
 if no other run goes on here, 'make unlock' releases it, and 'make' goes on from what is finished" >&2; exit $$code; }

figures: $(READY) ## every table, figure and claim from results/reference, and theory and survey: no GPU, no data
	gradleak verify "$$REFERENCE" --cells 0
	@run=results/$$(basename $(DRAWN)); case $$run in */theory | */survey) false;; esac \
	  && { [ ! -e "$$run" ] || [ "$$run" -ef "$$REFERENCE" ]; } \
	  || { echo "make:" $(DRAWN) "is not this archive's; give the archive's folder another name" >&2; exit 2; }
	@$(MAKE) --no-print-directory --jobs 4 theory claims survey tables drawings
	@gradleak report --study-folder "$$REFERENCE" --figures $(DRAWN) --theory "$$FIGURES/theory" \
	  --survey "$$FIGURES/survey" --captions workflow/report --out $(DRAWN)/report.html > /dev/null
	@echo "wrote" $(DRAWN) "with report.html, $$FIGURES/theory and $$FIGURES/survey"

# The choice is the same for the same archive and settings: what was killed goes on where it was.
extend: cores $(READY) ## add to results/reference what decides most, for MINUTES, each PART of them archived before the next
	@[ "$$MINUTES" -ge 1 ] 2> /dev/null \
	  || { echo "make: MINUTES is '$$MINUTES'; allowed: a whole number from 1 up" >&2; exit 2; }
	@name=$$(basename "$$REFERENCE"); study=$${STUDY:-$$name}; ends=$$(($$(date +%s) + 60 * MINUTES)); \
	while [ "$$(date +%s)" -lt "$$ends" ]; do \
	  more=$$(gradleak plan --study "$$study" --reuse "$$REFERENCE" --minutes "$$PART" --list) || exit; \
	  [ -n "$$more" ] || { echo "nothing is left that fits in $$PART minutes"; break; }; \
	  $(SNAKEMAKE) --config "study=$$study" "run=$$name-more" "reuse=$$REFERENCE" "minutes=$$PART" $(UNLESS_LOCKED); \
	  gradleak archive "results/$$name-more" --out "$$REFERENCE" || exit; \
	done

verify: $(READY) ## compute a random sample of the cells of results/reference again, compare, draw; needs their data
	gradleak verify "$$REFERENCE" --gallery $(DRAWN)/verified

# What `make figures` does at once. Claims read what theory writes.
DRAWN := "$$FIGURES/$$(basename "$$(cd "$$REFERENCE" && pwd)")"
FROM_REFERENCE := --plan "$$REFERENCE/plan.json" --results "$$REFERENCE/results.parquet" --out $(DRAWN)
.PHONY: theory claims survey tables drawings
theory:
	@gradleak theory --out "$$FIGURES/theory" > /dev/null
claims: theory
	@gradleak claims $(FROM_REFERENCE) --csv "$$FIGURES/theory" > /dev/null
survey:
	@gradleak survey --out "$$FIGURES/survey" > /dev/null
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
	ruff format --check src tests envs docs
	ruff check src tests envs docs
	snakefmt --check Snakefile workflow
	mypy
	snakemake --lint

bench: $(READY) ## speed against the peer framework, in an environment of its own
	python tests/benchmarks/against_breaching.py

bench-engine: $(READY) ## speed of the engine here against that of another commit: make bench-engine BASE=main
	python tests/benchmarks/engine.py --base '$(BASE)'

bench-gpu: $(READY) ## eight minutes of one GPU: correctness, speed and strength of attacks; JSON files in OUT
	python tests/benchmarks/gpu.py --out '$(OUT)' --minutes 8

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

# Either folder, or one in it, may be a link to another disk: the link stays, what lies behind it goes.
clean: ## remove results and figures of studies (archives, such as results/reference, stay)
	find -H results paper_figures -mindepth 1 -maxdepth 1 ! -name .gitkeep ! -exec test -e {}/SHA256SUMS \; \
	  -exec sh -c 'for each; do if [ -L "$$each" ]; then find -H "$$each" -mindepth 1 -delete; else rm -rf "$$each"; fi; done' sh {} +

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(READY): envs/requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gradleak needs CPython >= 3.11; set one with make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(CLEAR) $(VENV)
	$(BIN)/python -m pip install --quiet --requirement envs/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	$(BIN)/python -m gradleak data fetch lpips --config config.yaml
	@touch $@
