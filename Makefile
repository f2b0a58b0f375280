# make setup | demo | test | lab | bench         (make help says what each does)
# Needs make, git and Python 3.11 or newer. Everything else is installed into $(VENV).

VENV ?= .venv
ARGS ?=
JOBS ?= $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2); [ $$n -gt 4 ] && n=4; echo $$n)
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
PY := $(VENV)/bin/python
STAMP := $(VENV)/.realhead-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)

.PHONY: help setup demo test lab bench notebooks lint lock
.DEFAULT_GOAL := help

help:
	@echo 'make setup      creates $(VENV), installs the pinned packages, fetches the weight files (once)'
	@echo 'make demo       runs the whole method and writes results/demo/index.html'
	@echo 'make test       runs the tests and every notebook in fast mode'
	@echo 'make lab        opens JupyterLab on the notebooks'
	@echo 'make bench      measures the speed of this machine (ONLY=splatting: of one part)'
	@echo 'make notebooks  runs all notebooks in full and stores their outputs'
	@echo 'make lint       checks the style;  make lock  writes requirements.lock anew'

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@if [ -z '$(PYTHON)' ]; then \
		echo 'Python 3.11 or newer was not found: install it, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3' >&2; exit 2; fi
	@if [ "$$(uname -s)" = Linux ]; then free=$$(df -Pk $(dir $(abspath $(VENV))) | awk 'NR==2 {print int($$4/1048576)}'); \
		echo "Setting up in $(VENV): about 7 GB with PyTorch's CUDA libraries ($$free GB are free here) and 3 to 10 minutes, once."; \
		if [ $$free -lt 8 ]; then echo "8 GB are needed and $$free GB are free: free some space, or choose another disk: make setup VENV=/path/on/another/disk" >&2; exit 2; fi; \
	else echo 'Setting up in $(VENV): about 2 GB and 3 to 10 minutes, once.'; fi
	@[ -x $(PY) ] || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'The environment could not be made: Python needs its venv module (on Debian and Ubuntu: apt install python3-venv).' >&2; exit 2; }
	@echo 'Installing the packages of requirements.lock ...'
	$(PY) -m pip install --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	$(PY) -m realhead doctor --fetch --compile
	@mkdir -p $(VENV)/etc/jupyter/labconfig  # JupyterLab asks nobody for news
	@echo '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}' > $(VENV)/etc/jupyter/labconfig/page_config.json
	@rm -f $(VENV)/.realhead-* && touch $@

demo: setup
	@$(PY) -m realhead demo --out results/demo $(ARGS)

test: setup
	@$(PY) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lab: setup
	@$(PY) -m jupyterlab --ip=127.0.0.1 --LabApp.default_url=/lab/tree/notebooks/00_quickstart.ipynb $(ARGS)

bench: setup
	@for script in tests/benchmarks/bench_$(or $(ONLY),*).py; do echo "== $$script"; $(PY) $$script $(ARGS) || exit 1; done

notebooks: setup
	@$(PY) -m realhead notebooks --execute $(ARGS)

lint: setup
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

lock:
	@$(PY) tools/lock.py
