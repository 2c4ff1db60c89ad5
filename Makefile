PYTHON ?= python3
BIN = .venv/bin
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --no-deps
# end-to-end and unit tests, a file of them on each core; the long tier needs real pictures in
# SSIM_AE_DATA
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile
.PHONY: demo test test-all bench lint install lock

demo: install
	$(BIN)/ssim-ae demo

test: lint
	$(PYTEST)

test-all: lint
	$(PYTEST) -m "long or not long"

# three quarters of an hour, more where cores share no cache: a training step, start-up and memory,
# two trainings at once, export, inspection of the demo's fabric by the tiled autoencoder, and with
# SSIM_AE_DATA the time to quality
bench: demo
	$(BIN)/python benchmarks/train_step.py --all --result runs/bench/train_step.json
	$(BIN)/python benchmarks/start_and_memory.py --result runs/bench/start_and_memory.json
	$(BIN)/python benchmarks/shared_machine.py --result runs/bench/shared_machine.json
	$(BIN)/python benchmarks/export_time.py --result runs/bench/export_time.json
	$(BIN)/ssim-ae train runs/demo-fabric --preset autoencoder --output runs/bench/autoencoder \
	    --overwrite
	$(BIN)/python benchmarks/inspect_latency.py runs/bench/autoencoder runs/demo-fabric \
	    --result runs/bench/inspect_latency.json
	@test -z "$$SSIM_AE_DATA" && echo "time_to_quality.py needs SSIM_AE_DATA" || \
	    $(BIN)/python benchmarks/time_to_quality.py --result runs/bench/time_to_quality.json

lint: install
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

install: .venv/installed

.venv/installed: requirements/dev.txt requirements/torch.txt requirements/torch-cpu.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(INSTALL) --require-hashes -r requirements/dev.txt
	@# the small CPU build of torch where pip knows a source for it, else the one on PyPI
	$(INSTALL) --require-hashes -r requirements/torch-cpu.txt 2>/dev/null || $(INSTALL) --require-hashes -r requirements/torch.txt
	$(INSTALL) --no-build-isolation -e .
	touch $@

lock:
	$(PYTHON) requirements/lock.py
