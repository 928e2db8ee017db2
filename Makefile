# Each target does all of its own set-up.
PYTHON = .venv/bin/python

.PHONY: env demo check lint test hostile check-fresh check-xen check-packages bench dist deb rpm clean

env:
	@tools/setup-env

demo:
	@tools/setup-env demo
	@$(PYTHON) -m tools.demo

check: lint test

lint: env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# What compares each octet heard, or measures time, runs alone: two such cases at once hear gaps on
# two cores. The others wait for two thirds of their time, so there are four at once; first come
# those that wait, and what only computes fills the rest.
test: env
	$(PYTHON) -m pytest -m "not alone" -n 4 --dist loadfile --no-loadscope-reorder \
		tests/integration tests/hostile tests/contract tests/property tests/unit
	$(PYTHON) -m pytest -m alone tests/integration tests/hostile

# What hostile guests do, for so long; the test target has a short run of it.
SECONDS = 600
hostile: env
	$(PYTHON) -m pytest tests/hostile --seconds=$(SECONDS)

# README's commands on fresh minimal systems of both releases, for root. All of it is
# `make check-fresh FRESH="demo check"`.
FRESH = demo
check-fresh:
	@tools/setup-env fresh
	@tools/check-fresh $(FRESH)

# The emulation has faults of its own (docs/lab.md): a case that fails is run once more, and both
# are reported.
check-xen:
	@tools/setup-env xen
	$(PYTHON) -m pytest --reruns 1 tests/xen

check-packages:
	@tools/setup-env packages
	$(PYTHON) -m pytest tests/packages

bench: env
	@$(PYTHON) -m bench
	@$(PYTHON) -m bench.revoke
	@$(PYTHON) -m bench.policy

# Packages of what is committed, into dist/.
dist:
	@tools/make-packages source

deb rpm:
	@tools/make-packages $@

clean:
	rm -rf .venv build dist *.egg-info xensnd/core/_core.* xensnd/transport/xen/_xen.*
