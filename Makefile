# Two commands for a newcomer: make demo, make test. Everything lives in .venv and .rag-demo.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DOCS   ?= examples/library
INDEX  ?= .rag-demo
ASK    ?=
CONFIG ?= configs/compact.yaml

.PHONY: demo test check setup lock soak clean

demo: setup  ## ingest DOCS (default examples/library) and answer three questions, or ASK="..."
	@$(BIN)/python examples/demo.py --config $(CONFIG) --index $(INDEX) --docs "$(DOCS)" --ask "$(ASK)"

test: setup  ## the tests, on two cores
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal -m "not soak"

check: setup  ## ruff, mypy --strict, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test

soak: setup  ## the slow sweeps
	$(BIN)/python -m pytest -m soak

setup: $(VENV)/.ready

# torch first, with whatever CPU or CUDA packages its build asks for on this machine; then the lock, without resolving.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("rag_pipeline needs Python 3.11 or newer, this is %s; run: make PYTHON=python3.12" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV), once: about three minutes and 3.3 GB on disk. First torch ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off "$$(grep -o 'torch==[0-9.]*' pyproject.toml)"
	@echo "... then the locked packages ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off --no-deps -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off --no-deps --no-build-isolation -e .
	@touch $@

# One lock for Python 3.11 to 3.13. torch and what its builds bring (CUDA, triton) stay out: the step before installs them.
lock: setup  ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-annotate --no-header --quiet --upgrade -o requirements.lock
	sed -i.bak -E "/^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==/d; /sys_platform == 'never'/d" requirements.lock && rm requirements.lock.bak

clean:  ## remove the environment and the demo index
	rm -rf $(VENV) $(INDEX)
