# Every command that this project knows. A target's line ends in the sentence that `make help` prints.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
  command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' && { echo $$name; break; }; \
  done)
CONFIG ?= config.toml
STUDY ?=

# The tests' peers; nothing here is needed at run time. The tests start their own servers on free ports; services that
# Debian would start on installation are kept from starting by deploy/install-debian.sh.
TEST_PROGRAMS := Orthanc storescu dciodvfy redis-server chromium git openssl
TEST_PACKAGES := orthanc dcmtk dicom3tools redis-server postgresql chromium git openssl

# Most tests wait for peers more than they compute, hence a third process where there is memory for it (4 GiB each). Those
# of one file share their servers, hence loadfile; the journeys take longest and come first.
TEST_PROCESSES ?= $(shell awk '/^MemAvailable/ {print ($$2 > 12 * 2^20) ? 3 : 2}' /proc/meminfo)

.PHONY: help demo look-at-study run test lint audit screenshots check-peers clean

help: ## Print this list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: look-at-study .venv/.ready-to-run ## Install, then send three phantom studies through the whole journey; STUDY=folder sends a study of yours.
	@.venv/bin/screener demo $(if $(STUDY),--study '$(STUDY)')

# What is plain to see is told before minutes of installing; what is installed looks closer.
look-at-study:
	@[[ -z '$(STUDY)' || -d '$(STUDY)' ]] || { echo 'The demo did not start: $(STUDY) is no folder' >&2; exit 1; }
	@[[ -z '$(STUDY)' || -e .venv/.ready-to-run ]] || LC_ALL=C grep -RqsaF DICM -- '$(STUDY)' || \
	  { echo 'The demo did not start: $(STUDY) holds no DICOM file' >&2; exit 1; }

run: .venv/.ready-to-run ## Install, then run the daemon with its embedded workers; CONFIG=file, default config.toml.
	@exec .venv/bin/screener run --config '$(CONFIG)'

test: lint check-peers ## Install everything that the tests need, then lint and run all tests.
	@.venv/bin/python -m pytest tests -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

lint: .venv/.ready-to-test ## Check style, types and imports.
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo

audit: .venv/.ready-to-audit ## Look for faults of security in the code and in the pinned packages (asks an advisory service).
	@.venv/bin/python deploy/audit/audit.py

screenshots: .venv/.ready-to-test ## Take the README's pictures of the pages anew, with synthetic patients.
	@.venv/bin/python tests/benchmarks/screenshots.py

check-peers:
	@missing=; for program in $(TEST_PROGRAMS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing="$$missing postgresql"; \
	if [[ -n $$missing ]]; then deploy/install-debian.sh "for the tests ($${missing# })" $(TEST_PACKAGES); fi

clean: ## Remove the virtual environment, the caches and what the demo left; received studies in var/ stay.
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info demo-results
	@find screener workers tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second call cost nothing; a changed pyproject.toml or constraints.txt installs anew.
.venv/bin/pip:
	@[[ -n "$(PYTHON)" ]] || { echo "Python 3.11 to 3.13 is needed and none was found; name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || deploy/install-debian.sh "for a virtual environment" \
	  "$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/.ready-to-run: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "Installing the daemon and the workers (the first time takes minutes)"
	@.venv/bin/pip install -qq --disable-pip-version-check -e '.[daemon,worker,web]' -c constraints.txt
	@touch $@

.venv/.ready-to-test: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "Installing the daemon, the workers, the training and the test tools (the first time takes minutes)"
	@.venv/bin/pip install -qq --disable-pip-version-check -e '.[daemon,worker,web,fusion,train,dev]' -c constraints.txt
	@touch $@ .venv/.ready-to-run

.venv/.ready-to-audit: .venv/.ready-to-test
	@.venv/bin/pip install -qq --disable-pip-version-check -e '.[audit]' -c constraints.txt
	@touch $@
