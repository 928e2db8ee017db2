# `make demo`, `make check` and `make check-xen` do all of their own set-up.
PYTHON = .venv/bin/python

.PHONY: env demo check lint test check-xen check-packages bench dist deb rpm clean

env:
	@tools/setup-env

demo: env
	@$(PYTHON) -m tools.demo

check: lint test

lint: env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: env
	$(PYTHON) -m pytest

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
