# Two commands make everything: `make book` builds the site, `make test` runs every test.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SITE   := _build/html
# Worker processes for the tests.
JOBS   ?= 2

NOTEBOOKS := $(wildcard notebooks/*.ipynb) book/template.ipynb
# The cache of executed notebooks is as old as this list of checksums.
CACHE_KEY := _build/cache-key
SOURCES    = requirements.txt $(sort $(wildcard lindiff/*.py lindiff/*/*.py))

PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
NBVAL  := --nbval --nbval-current-env --nbval-cell-timeout=120

export PYTHONHASHSEED ?= 0
# One BLAS thread per process: the same figures on every machine, and no oversubscription under xdist.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help book test check-book check bench train jacobians cover lab notebooks student dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

book: $(STAMP) ## build the site in _build/html; any warning is an error
	@mkdir -p _build
	@cksum $(SOURCES) > $(CACHE_KEY).new
	@cmp -s $(CACHE_KEY).new $(CACHE_KEY) || rm -rf _build/.jupyter_cache
	@mv $(CACHE_KEY).new $(CACHE_KEY)
	rm -rf $(SITE) _build/.doctrees
	$(BIN)/jupyter-book build . --all -n -W --keep-going

test: $(STAMP) ## lint, unit tests, doctests, the form of the notebooks, and their values
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) -m "not rendered" --cov
	$(PYTEST) $(NBVAL) $(NOTEBOOKS)

check-book: $(STAMP) ## test the built site in a real browser (needs Chromium)
	LINDIFF_RENDERED=required $(PYTEST) --dist load -m rendered tests/test_rendered.py

check: ## every gate: test, book and check-book, in this order
	$(MAKE) test
	$(MAKE) book
	$(MAKE) check-book

cover: $(STAMP) ## draw the picture of the first page and of the README
	$(BIN)/python book/cover.py

bench: $(STAMP) ## time lindiff against its peers and write the performance page (some minutes)
	@mkdir -p _build
	$(BIN)/python -m pytest -q -p no:cacheprovider --benchmark-json=_build/bench.json tests/benchmarks/bench_lindiff.py tests/benchmarks/bench_jacobian.py
	$(BIN)/python tests/benchmarks/table.py _build/bench.json book/performance.md

train: $(STAMP) ## train the deep denoisers that come with lindiff anew (about 45 minutes on one core)
	$(BIN)/python -m lindiff.deep.recipes mnist photographs

jacobians: $(STAMP) ## measure the Jacobians along generation anew (about 15 minutes on one core)
	$(BIN)/python -m lindiff.deep.experiments

lab: $(STAMP) ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

notebooks: $(STAMP) ## run the notebooks and write them in the form that the tests ask for
	$(BIN)/ruff format $(NOTEBOOKS)
	$(BIN)/python tests/notebook_form.py --fix --stats $(NOTEBOOKS)

student: $(STAMP) ## write copies of the notebooks without solutions into _build/student
	$(BIN)/python book/student.py

dist: book ## pack the site into one zip, to read and teach without a network
	cd _build && ../$(BIN)/python -m zipfile -c lindiff-book.zip html
	@echo "_build/lindiff-book.zip: unpack it and open html/index.html"

clean: ## remove what was built; the virtual environment stays
	rm -rf _build .benchmarks .coverage .coverage.* .hypothesis .pytest_cache .ruff_cache *.egg-info
	find book lindiff tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
