# One word each; `make` alone lists them. What is installed once is not installed again (stamps in .venv).

PYTHON ?= python3
DATA ?= digits
MNIST ?= mnist
FASHION ?= fashion-mnist
CIFAR ?= cifar10
FLOWERS ?=
EMOJI ?=
PAIRS ?=
SPRITES ?=
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

# From cheap to dear; FLOWERS, EMOJI, PAIRS and SPRITES are folders or zips, as no such sets can be had by name.
bench: .venv/.test  ## measure all that is in docs/benchmarks.md; takes hours (DATA=photos/ etc. name other data)
	$(VENV) benchmarks/startup.py
	$(VENV) benchmarks/loader.py "$(DATA)"
	$(VENV) benchmarks/memory.py "$(MNIST)" $(if $(PAIRS),--pairs "$(PAIRS)")
	$(VENV) benchmarks/gpu.py "$(CIFAR)"
	$(VENV) benchmarks/share.py "$(MNIST)"
	$(VENV) benchmarks/scaling.py "$(MNIST)"
	$(VENV) benchmarks/export.py
	$(VENV) benchmarks/shards.py "$(MNIST)"
	$(VENV) benchmarks/throughput.py "$(MNIST)"
	$(VENV) benchmarks/modes.py "$(MNIST)"
	$(VENV) benchmarks/classes.py "$(MNIST)"
	$(VENV) benchmarks/quality.py "$(MNIST)"
	$(VENV) benchmarks/quality.py "$(FASHION)"
ifeq ($(and $(FLOWERS),$(EMOJI)),)
	@echo "small data and proofs were not measured, for want of pictures: make bench FLOWERS=folder EMOJI=zip"
else
	$(VENV) benchmarks/proofs.py "$(MNIST)" "$(FLOWERS)"
	$(VENV) benchmarks/small.py "$(FLOWERS)" "$(EMOJI)"
	$(VENV) benchmarks/shards.py "$(FLOWERS)" --size 64
endif
ifneq ($(PAIRS),)
	$(VENV) benchmarks/translation.py "$(PAIRS)"
	$(VENV) benchmarks/share.py "$(PAIRS)" --task paired --size 64
endif
ifneq ($(SPRITES),)
	$(VENV) benchmarks/clips.py "$(SPRITES)" "$(MNIST)"
endif
	$(VENV) benchmarks/tables.py
	$(VENV) benchmarks/tables.py --page docs/augmentation.md
	$(VENV) benchmarks/tables.py --page docs/translation.md
	$(VENV) benchmarks/tables.py --page docs/video.md

clean:  ## remove what was installed and cached here; runs/ and bench-results/ stay
	rm -rf .venv .venv-peers .mypy_cache .pytest_cache .ruff_cache dist
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
