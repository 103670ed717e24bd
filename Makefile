# One word each; `make` alone lists them. What is installed once is not installed again (stamps in .venv).

PYTHON ?= python3
DATA ?= digits
MNIST ?= mnist
VENV := .venv/bin/python

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint types bench clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: .venv/.run  ## learn to draw digits in three minutes; again: go on, or say that it is finished
	$(VENV) -m ganvas train digits --size 16 --budget 3m --name demo

# One thread, since on a busy machine several spend most of their time waiting for one another.
test: .venv/.test  ## run the tests
	OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}" $(VENV) -m pytest

lint: .venv/.dev  ## look for mistakes of style
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .

types: .venv/.dev  ## check the types
	$(VENV) -m mypy

bench: .venv/.test  ## measure start, data path and memory (DATA=photos/ and MNIST=folder name other data)
	$(VENV) benchmarks/startup.py
	$(VENV) benchmarks/loader.py "$(DATA)"
	$(VENV) benchmarks/memory.py "$(MNIST)"

clean:  ## remove what was installed and cached here; runs/ and bench-results/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

.venv/.test: EXTRAS = [test]
.venv/.test: ALSO = .venv/.run
.venv/.dev: EXTRAS = [dev]
.venv/.dev: ALSO = .venv/.run .venv/.test
.venv/.run .venv/.test .venv/.dev: pyproject.toml constraints.txt | $(VENV)
	@echo "installing into .venv; the first time this takes a minute or two ..."
	$(VENV) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".$(EXTRAS)"
	@touch $@ $(ALSO)

$(VENV):
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=..."'
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
