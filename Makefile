# Two commands do all the set-up: `make demo` shows the node at work, `make test` proves it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= config.yaml
VOLUME_PEERS := .cache/volume-peers
OHIF := .cache/ohif/3.13.2
DCMJS := .cache/dcmjs/0.49.0

.PHONY: demo run test test-long fuzz check bench bench-receive bench-send bench-time bench-result bench-encode bench-volume bench-inference peers lock clean help

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(VENV)/.runtime  ## send a chest CT (STUDY=folder for your own) through a node on this machine, show what comes back
	$(BIN)/dicom-node demo $(if $(STUDY),--study "$(STUDY)")

run: $(VENV)/.runtime  ## run the node as config.yaml says
	$(BIN)/dicom-node serve --config $(CONFIG)

test: $(VENV)/.test peers check  ## everything that must hold, against real peers; minutes
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long"

test-long: $(VENV)/.test peers  ## what takes longer: many crashes, the full matrices
	$(BIN)/pytest -m long

fuzz: $(VENV)/.test peers  ## 100,000 hostile sessions against the acceptor; an hour (FUZZ_SEED=n for others)
	FUZZ_SESSIONS=100000 $(BIN)/pytest -s tests/fuzz

check: $(VENV)/.test  ## lint, format, types, walls between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: bench-receive bench-send bench-time bench-result bench-encode bench-volume bench-inference  ## measure what benchmarks/README.md claims; half an hour

bench-receive: $(VENV)/.test  ## receiving, against Orthanc, DCMTK and pynetdicom
	$(BIN)/python -m benchmarks.receive

bench-send: $(VENV)/.test  ## sending, against DCMTK and pynetdicom
	$(BIN)/python -m benchmarks.send

bench-time: $(VENV)/.test  ## from the last image to the results at a PACS
	$(BIN)/python -m benchmarks.time_to_pacs

bench-result: $(VENV)/.test peers  ## from the last image to the job, and jobs too early, against timers; ten minutes
	$(BIN)/python -m benchmarks.time_to_result

bench-encode: $(VENV)/.test  ## results to DICOM objects, against highdicom and dcmqi; ten minutes
	$(BIN)/python -m benchmarks.encode
	$(BIN)/python -m benchmarks.compress

bench-volume: $(VENV)/.test $(VOLUME_PEERS)/.installed  ## images to a volume, against dcm2niix, SimpleITK, pydicom and MONAI; ten minutes
	$(BIN)/python -m benchmarks.volume --peers $(VOLUME_PEERS)

bench-inference: $(VENV)/.test $(VOLUME_PEERS)/.installed  ## a CT through networks, against plain MONAI; a quarter of an hour
	$(BIN)/python -m benchmarks.inference --peers $(VOLUME_PEERS)

# An environment of its own: the project needs none of them.
$(VOLUME_PEERS)/.installed:
	$(PYTHON) -m venv $(VOLUME_PEERS)
	$(VOLUME_PEERS)/bin/pip install --quiet dcm2niix einops itk monai nibabel pydicom torch==2.13.0
	touch $@

peers: $(OHIF)/index.html $(DCMJS)/node_modules  ## install the programs that tests talk to (Debian packages, OHIF, dcmjs)
	scripts/install-peers

$(OHIF)/index.html:
	scripts/install-ohif $(OHIF)

$(DCMJS)/node_modules:
	scripts/install-dcmjs $(DCMJS)

lock:  ## write both locks anew from pyproject.toml
	scripts/lock

clean:  ## remove what make made
	rm -rf $(VENV) .cache demo-output

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Pins only, in two steps: the demo needs no test tools, and installs in half the time without them.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.test: $(VENV)/.runtime requirements-test.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-test.lock
	touch $@
