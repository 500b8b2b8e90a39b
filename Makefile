# make demo   the main job on real data, from nothing but Python >= 3.12 and make
# make test   the fast tests, likewise
# The first call of any target creates .venv; later calls reuse it until pyproject.toml changes.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTRAS := dev
PYTEST_ARGS ?=
DEMO_OUT ?= demo-output

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help env demo test slow lint docs notebooks bench clean

help:
	@echo "make demo       fit the shipped seizure data by IRLS, GEE and NUTS; results in $(DEMO_OUT)/"
	@echo "make test       run the fast tests and the examples in the docstrings"
	@echo "make slow       run the tests that sample"
	@echo "make lint       ruff and mypy"
	@echo "make docs       build the documentation into docs/_build/html"
	@echo "make notebooks  execute the notebooks"
	@echo "make bench      run the benchmarks"
	@echo "make env        only create .venv; PYTHON=... names the Python to make it from"
	@echo "make clean      remove .venv, caches and outputs"

# An environment that no longer runs, or that was made in another folder, is made again.
ifneq ($(shell $(PY) -c "" 2>/dev/null && cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml
	@echo "== Creating the environment in $(VENV) (once: a few minutes and about 1.5 GB of disk)"
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) || exit 1; \
	echo "== Using $$python"; \
	$(PY) -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear $(VENV)
	@echo "== Installing expfam_glm[$(EXTRAS)] and what it needs"
	$(PY) -m pip install --compile --editable ".[$(EXTRAS)]"
	@printf '%s' "$(CURDIR)" > $(STAMP)

# Bytecode is compiled ahead: some machines forbid Python to write it, and imports are slow without.
env: $(STAMP)
	@$(PY) -m compileall -q expfam_glm

demo: env
	@echo "== Demo: seizure counts by IRLS, GEE and NUTS; writing to $(DEMO_OUT)/"
	$(PY) -m expfam_glm demo --out $(DEMO_OUT)

test: env
	@echo "== Fast tests and docstring examples"
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist worksteal -m "not slow" $(PYTEST_ARGS)

slow: env
	@echo "== Slow tests: sampling, whole documentation pages"
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist worksteal -m slow --durations=10 $(PYTEST_ARGS)

lint: env
	@echo "== Static checks: ruff, mypy"
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: env
	@echo "== Documentation: docs/_build/html (warnings are errors)"
	@rm -rf docs/generated # pages of names that are gone
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html

notebooks: env
	@echo "== Executing the notebooks"
	@for notebook in notebooks/*.ipynb; do \
	    echo "$$notebook"; $(PY) -m jupyter execute --timeout=600 "$$notebook" || exit 1; \
	done

bench: env
	@echo "== Benchmarks"
	$(PY) -m pip install --compile --editable ".[$(EXTRAS),bench]"
	@for script in benchmarks/bench_*.py; do echo "$$script"; $(PY) "$$script" || exit 1; done

clean:
	rm -rf $(VENV) $(DEMO_OUT) build dist docs/_build docs/generated
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find expfam_glm tests docs benchmarks notebooks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
