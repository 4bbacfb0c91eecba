# Everything a person needs: `make run` and `make test` set up what they use by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.dev-ready
DOCS_READY := $(VENV)/.docs-ready
PAGE := plugins/hdm_studio/page/index.html
UI_READY := ui/node_modules/.ready
# File by file, in the order of tests/conftest.py: what takes longest first.
SHARED_OUT := --dist loadfile --no-loadscope-reorder

.PHONY: help setup run studio studio-lint wheel wheel-check sbom test long lint types judges docs licences bench soak fuzz qgis-plugin clean

help: ## say what the targets do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /	/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[geo,dicom]'
	touch $@

$(DEV_READY): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,judges,bench]'
	touch $@

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

setup: $(DEV_READY) ## the environment for development, and the git hooks
	$(BIN)/pre-commit install

samples: | $(READY)
	$(BIN)/python -m hdm_pipeline samples samples

run: $(READY) samples ## flood extent of the sample archive
	$(BIN)/python -m hdm_pipeline run pipelines/flood_extent.yaml

$(UI_READY): ui/package.json ui/package-lock.json
	cd ui && npm ci --silent --no-audit --no-fund
	touch $@

$(PAGE): $(UI_READY) ui/build.mjs $(shell find ui/src -type f)
	cd ui && npm run --silent build

studio: $(PAGE) ## the page of the studio (needs npm); then: python -m hdm_pipeline studio PIPELINE.yaml

studio-lint: $(UI_READY) ## types and style of the page's TypeScript
	cd ui && npm run --silent check

wheel: $(PAGE) $(DEV_READY) ## the wheel under dist/, with the page of the studio in it
	rm -rf build/lib dist/hdm_pipeline-*.whl  # setuptools would pack modules that are long gone
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -m zipfile --list dist/hdm_pipeline-*.whl | grep -q hdm_studio/page/index.html

wheel-check: wheel ## what the wheel can do in an empty environment: bare, with [geo], with [dicom]; downloads all of it
	rm -rf build/bare && $(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip install --quiet --constraint constraints.txt dist/hdm_pipeline-*.whl
	cd build && bare/bin/python -m hdm_pipeline doctor; bare/bin/python -m hdm_pipeline samples bare/none; test $$? = 2
	build/bare/bin/python -m pip install --quiet --constraint constraints.txt "$$(echo dist/hdm_pipeline-*.whl)[geo]"
	cd build && bare/bin/python -m hdm_pipeline samples bare/samples && HDM_FLOOD_DATA=$(CURDIR)/build/bare/samples \
		bare/bin/python -m hdm_pipeline run ../pipelines/flood_extent.yaml --output bare/out
	build/bare/bin/python -m pip install --quiet --constraint constraints.txt "$$(echo dist/hdm_pipeline-*.whl)[dicom]"
	cd build && bare/bin/python -m hdm_pipeline doctor

sbom: wheel-check ## dist/hdm_pipeline.cdx.json: what an empty environment got with [geo] and [dicom], as CycloneDX
	$(PYTHON) -m venv build/sbom && build/sbom/bin/python -m pip install --quiet cyclonedx-bom==7.5.0
	build/sbom/bin/cyclonedx-py environment --output-format JSON --output-file dist/hdm_pipeline.cdx.json build/bare/bin/python

test: $(DEV_READY) ## the tests, without third-party judges; in one process: make test WORKERS=0
	$(BIN)/python -m pytest tests/unit tests/integration -m "not long" --numprocesses $(or $(WORKERS),2) $(SHARED_OUT)

long: $(DEV_READY) ## the long ones: Dice on a real CT, training by two processes, listeners and actors that die, Ray against inline
	$(BIN)/python -m pytest tests/unit tests/integration -m long

lint: $(DEV_READY) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_READY) ## mypy --strict
	$(BIN)/mypy

judges: $(DEV_READY) ## third-party validators; see docs/judges.md for what they need
	$(BIN)/python -m pytest tests/judges --numprocesses $(or $(WORKERS),2) $(SHARED_OUT)

docs: $(DOCS_READY) ## the documentation as a site under build/site, notebooks run; without them: HDM_DOCS_NOTEBOOKS=0
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: $(DEV_READY) ## all benchmarks, as tables and JSON under bench-results/
	$(BIN)/python -m benchmarks --json bench-results

soak: $(DEV_READY) ## half an hour of random kill -9; other lengths: make soak MINUTES=5 SEED=1
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED)) $(if $(PAUSE),--pause $(PAUSE))

fuzz: $(DEV_READY) ## atheris on YAML, band expressions, DICOM and TIFF; other lengths: make fuzz SECONDS=600
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

licences: $(DEV_READY) ## docs/licences.md anew, of what is installed
	$(BIN)/python docs/site/licences.py > docs/licences.md

qgis-plugin: ## the QGIS plug-in as dist/qgis_hdm.zip
	$(PYTHON) plugins/qgis_zip.py dist/qgis_hdm.zip

clean: ## remove the virtual environment and what was made
	rm -rf $(VENV) samples out build dist bench-results fuzz-results ui/node_modules $(dir $(PAGE))
