# Each target does all of its own set-up.
PYTHON = .venv/bin/python

.PHONY: env demo check lint test test-sound test-others hostile check-fresh check-xen check-xen-quiet endurance check-packages bench dist deb rpm clean

env:
	@tools/setup-env

demo:
	@tools/setup-env demo
	@$(PYTHON) -m tools.demo

# Lint too gives way to what sounds.
check: env
	@$(MAKE) --no-print-directory --output-sync --jobs=3 lint test-sound test-others

LINT = chrt --idle 0 .venv/bin
lint: env
	$(LINT)/ruff check .
	$(LINT)/ruff format --check .
	$(LINT)/mypy
	$(LINT)/lint-imports

# What measures time, or floods an agent with requests, runs one case after another. Then, what
# compares each octet heard runs two cases at once, if it may have real-time priority. All others run
# beside and give way: first those that wait, and what only computes fills the rest. Why a case was
# run once more is shown.
TEST = $(PYTHON) -m pytest --rerun-show-tracebacks
test: env
	@$(MAKE) --no-print-directory --output-sync --jobs=2 test-sound test-others

test-sound:
	$(TEST) -m alone tests/integration tests/hostile; alone=$$?; \
		$(TEST) -m sound -n auto --dist loadfile tests/integration && exit $$alone

test-others:
	chrt --idle 0 $(TEST) -m "not sound and not alone" -n 3 --dist loadfile \
		--no-loadscope-reorder tests/integration tests/hostile tests/contract tests/property \
		tests/unit

# What hostile guests do, for so long; `make test` has a short run of it.
SECONDS = 600
hostile: env
	$(PYTHON) -m pytest tests/hostile --seconds=$(SECONDS)

# README's commands on fresh minimal systems of both releases, for root. FRESH is what
# tools/check-fresh is told; all of it is `make check-fresh FRESH="demo check"`, and that with --user.
FRESH = demo
check-fresh:
	@tools/setup-env fresh
	@tools/check-fresh $(FRESH)

# The emulation has faults of its own (docs/lab.md): a case that fails is run once more, and both
# are reported.
check-xen:
	@tools/setup-env xen
	@tools/check-xen

# What is judged by time, or plays from a desktop's audio server in an emulated guest: seven minutes
# more, on a machine that does nothing else.
check-xen-quiet:
	@tools/setup-env xen
	$(PYTHON) -m pytest -rP -m quiet tests/xen

# In the lab: ten minutes of counted frames, and twenty deaths of the agent with each buffer.
endurance:
	@tools/setup-env xen
	XENSND_ENDURANCE=600 $(PYTHON) -m pytest -rP tests/xen/test_endurance.py

check-packages:
	@tools/setup-env packages
	$(PYTHON) -m pytest tests/packages

# `make bench BENCH="--streams 1,4 --png bench.png"`: see `python -m bench --help`.
BENCH =
bench:
	@tools/setup-env bench
	@$(PYTHON) -m bench $(BENCH)
	@$(PYTHON) -m bench.revoke
	@$(PYTHON) -m bench.policy
	@$(PYTHON) -m bench.vchan
	@$(PYTHON) -m bench.protocols

# Packages of what is committed, into dist/.
dist:
	@tools/make-packages source

deb rpm:
	@tools/make-packages $@

clean:
	rm -rf .venv build dist *.egg-info xensnd/core/_core.* xensnd/transport/xen/_xen.*
