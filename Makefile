# Two commands make everything: `make book` builds the site, `make test` runs every test.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Worker processes for the tests, and chapters that run at the same time.
JOBS   ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# TORCH=cpu installs PyTorch's CPU build, which is all the book needs: 2 GB instead of 8 on Linux.
TORCH  ?=
# SOLUTIONS=no leaves every solution, model answer and key out of `make book` and `make dist`.
SOLUTIONS ?= yes
WITHOUT := $(if $(filter no,$(SOLUTIONS)),--no-solutions)
# Sets of other seeds for `make reseed`.
SHIFTS ?= 10

NOTEBOOKS := $(wildcard notebooks/*.ipynb) book/template.ipynb

PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
NBVAL  := -p nbval_numbers --nbval --nbval-current-env --nbval-cell-timeout=120

export PYTHONHASHSEED ?= 0
# One BLAS thread per process: the same figures on every machine, and no oversubscription under xdist.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help book test check-book check reseed parameters reading sample kernels bench audit train train-family jacobians cover lab notebooks student \
        assignments dist instructors clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) book/install.py $(if $(filter cpu,$(TORCH)),--cpu)
	@touch $@

book: $(STAMP) ## build the site in _build/html; any warning is an error; SOLUTIONS=no: one for students
	$(BIN)/python book/build.py --jobs $(JOBS) $(WITHOUT)

test: $(STAMP) ## lint, types, unit tests, doctests, the form of the notebooks, and their values
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -m "not rendered" --cov
	PYTHONPATH=tests $(PYTEST) $(NBVAL) $(NOTEBOOKS)

check-book: $(STAMP) ## test the built site in a real browser (needs Chromium)
	LINDIFF_RENDERED=required $(PYTEST) --dist load -m rendered tests/test_rendered.py tests/test_laboratories.py

check: ## every gate: test, book and check-book, in this order
	$(MAKE) test
	$(MAKE) book
	$(MAKE) check-book

cover: $(STAMP) ## draw the picture of the first page and of the README
	$(BIN)/python book/cover.py

reseed: $(STAMP) ## every assertion of the chapters under other seeds, SHIFTS=10 of them (half an hour on two cores)
	$(BIN)/python tests/rerun.py reseed --shifts $(SHIFTS) --workers $(JOBS) --store --missing

parameters: $(STAMP) ## every assertion of the chapters under other values of their parameters (some minutes)
	$(BIN)/python tests/rerun.py parameters --workers $(JOBS)

reading: $(STAMP) ## how hard each chapter is to read, by thermometers, and what departs from the rules
	$(BIN)/python tests/notebook_form.py --reading

sample: $(STAMP) ## a part of reseed and kernels that fits into every run of the gates, and parameters
	$(BIN)/python tests/rerun.py reseed --sample 3 --workers $(JOBS)
	$(BIN)/python tests/rerun.py kernels --settings oldest --workers $(JOBS) notebooks/0[1-8]*.ipynb
	$(BIN)/python tests/rerun.py parameters --workers $(JOBS)

kernels: $(STAMP) ## tests and chapters as on other processors, and with two threads (20 minutes on two cores)
	$(BIN)/python tests/rerun.py tests --workers $(JOBS)
	$(BIN)/python tests/rerun.py kernels --workers $(JOBS) --store --missing

bench: $(STAMP) ## time lindiff against its peers and write the performance page (some minutes)
	@mkdir -p _build
	$(BIN)/python -m pytest -q -p no:cacheprovider --benchmark-json=_build/bench.json tests/benchmarks/bench_lindiff.py tests/benchmarks/bench_jacobian.py
	$(BIN)/python tests/benchmarks/table.py _build/bench.json book/performance.md
	$(BIN)/python tests/benchmarks/large_unet.py

audit: $(STAMP) ## compare other libraries' samplers with their exact laws and write the audit page (a minute)
	$(BIN)/python book/audit.py --store

train: $(STAMP) ## train the deep denoisers that come with lindiff again (about 45 minutes on one core)
	$(BIN)/python -m lindiff.book.recipes mnist photographs

train-family: $(STAMP) ## train the 48 small networks again, of which 18 come with lindiff (about 2 hours on one core)
	$(BIN)/python -m lindiff.book.recipes family

jacobians: $(STAMP) ## measure the Jacobians of all networks again (about 90 minutes on one core)
	$(BIN)/python -m lindiff.book.experiments

lab: $(STAMP) ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

notebooks: $(STAMP) ## run the notebooks and write them in the form that the tests ask for
	$(BIN)/ruff format $(NOTEBOOKS)
	$(BIN)/python tests/notebook_form.py --fix --stats $(NOTEBOOKS)

student: $(STAMP) ## write copies of the notebooks without solutions into _build/student
	$(BIN)/python book/student.py

assignments: $(STAMP) ## write the assignments of the six sessions into _build/assignments
	$(BIN)/python book/assignments.py

dist: book ## pack the site into one zip, to read and teach without a network; SOLUTIONS=no: for students
	$(BIN)/python book/bundle.py site $(WITHOUT)

instructors: book assignments ## pack site, assignments, rubrics, votes and exam questions for instructors
	$(BIN)/python book/bundle.py instructors

clean: ## remove what was built; the virtual environment stays
	rm -rf _build .benchmarks .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find book lindiff tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
