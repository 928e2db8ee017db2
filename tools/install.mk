# What an installed system has, and where: the packages of Debian and Fedora both install with this.
#   make -f tools/install.mk build
#   make -f tools/install.mk install DESTDIR=/tmp/root

PYTHON = /usr/bin/python3

prefix = /usr
sysconfdir = /etc
bindir = $(prefix)/bin
# A directory of its own: `policy` is too general a name for where all Python programs look.
moduledir = $(prefix)/lib/xensnd
mandir = $(prefix)/share/man
bashdir = $(prefix)/share/bash-completion/completions
zshdir = $(prefix)/share/zsh/site-functions
pulsedir = $(sysconfdir)/pulse/default.pa.d
pipewiredir = $(prefix)/share/pipewire/pipewire-pulse.conf.d
sharedir = $(prefix)/share/xensnd
unitdir = $(prefix)/lib/systemd/system
userunitdir = $(prefix)/lib/systemd/user
presetdir = $(prefix)/lib/systemd/system-preset
userpresetdir = $(prefix)/lib/systemd/user-preset
catalogdir = $(prefix)/lib/systemd/catalog
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d
udevrulesdir = $(prefix)/lib/udev/rules.d

COMMANDS = xensnd-dom0 xensnd-guest xensnd-pacat xensnd-policy xensnd-session
MODULE_xensnd-dom0 = agent_dom0.cli
MODULE_xensnd-guest = agent_guest.cli
MODULE_xensnd-pacat = agent_session.pacat
MODULE_xensnd-policy = policy.cli.main
MODULE_xensnd-session = agent_session.cli
# What no person runs.
SERVICES = xensnd-qubes
MODULE_xensnd-qubes = agent_dom0.qubes.cli

# The machine of local:DIR is for tests and demonstrations; what builds the core is done with.
NOT_INSTALLED = xensnd/localxen/% xensnd/core/build.py xensnd/transport/xen/build_xen.py
EXTENSIONS = xensnd/core/_core.abi3.so xensnd/transport/xen/_xen.abi3.so
MODULES := $(filter-out $(NOT_INSTALLED), $(sort \
	$(shell find xensnd agent_dom0 agent_guest agent_session policy -name '*.py')))

PAGES := $(patsubst docs/man/%.md,%,$(sort $(wildcard docs/man/*.md)))
VERSION := $(shell $(PYTHON) -c 'from xensnd.version import VERSION; print(VERSION)')

.PHONY: build install clean

build: $(PAGES:%=build/man/%) $(COMMANDS:%=build/bin/%) $(SERVICES:%=build/bin/%)
	$(PYTHON) setup.py build_ext --inplace

build/man/%: docs/man/%.md
	mkdir -p $(@D)
	pandoc --standalone --to=man --metadata=footer:'xensnd $(VERSION)' --output=$@ $<

build/bin/%: tools/launcher.in
	mkdir -p $(@D)
	sed -e 's,@MODULEDIR@,$(moduledir),' -e 's,@MODULE@,$(MODULE_$*),' $< >$@

install:
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(sysconfdir)/xensnd/policy.d
	install -m 755 $(COMMANDS:%=build/bin/%) $(DESTDIR)$(bindir)
	for file in $(MODULES) $(EXTENSIONS); do \
		install -D -m 644 $$file $(DESTDIR)$(moduledir)/$$file || exit; \
	done
	install -m 755 $(SERVICES:%=build/bin/%) $(DESTDIR)$(moduledir)
	install -m 644 policy/defaults/90-default.yaml $(DESTDIR)$(sysconfdir)/xensnd/policy.d
	install -D -m 644 -t $(DESTDIR)$(sharedir) docs/policy.schema.json
	for page in $(PAGES); do \
		install -D -m 644 -t $(DESTDIR)$(mandir)/man$${page##*.} build/man/$$page || exit; \
	done
	for file in completions/*.bash; do \
		install -D -m 644 $$file $(DESTDIR)$(bashdir)/$$(basename $$file .bash) || exit; \
	done
	install -D -m 644 -t $(DESTDIR)$(zshdir) completions/_*
	install -D -m 644 -t $(DESTDIR)$(unitdir) packaging/systemd/*.service
	install -D -m 644 -t $(DESTDIR)$(userunitdir) packaging/systemd/user/*
	install -D -m 644 -t $(DESTDIR)$(presetdir) packaging/systemd/preset/*
	install -D -m 644 -t $(DESTDIR)$(userpresetdir) packaging/systemd/user-preset/*
	install -D -m 644 -t $(DESTDIR)$(catalogdir) packaging/systemd/*.catalog
	install -D -m 644 -t $(DESTDIR)$(sysusersdir) packaging/systemd/sysusers.d/*
	install -D -m 644 -t $(DESTDIR)$(tmpfilesdir) packaging/systemd/tmpfiles.d/*
	install -D -m 644 -t $(DESTDIR)$(udevrulesdir) packaging/systemd/udev/*
	install -D -m 644 -t $(DESTDIR)$(pipewiredir) packaging/systemd/audio/50-xensnd.conf
	install -D -m 644 -t $(DESTDIR)$(userunitdir)/xensnd-guest.service.d qubes/30_qubes.conf
	install -D -m 755 -t $(DESTDIR)$(sysconfdir)/qubes/post-install.d qubes/10-xensnd.sh
	install -D -m 644 -t $(DESTDIR)$(sharedir) qubes/80-qubes.yaml
	install -D -m 755 -t $(DESTDIR)$(sharedir) qubes/qubes-pacat
	# A link, which goes with the package: a configuration file would stay when that is removed.
	install -D -m 644 -t $(DESTDIR)$(sharedir) packaging/systemd/audio/xensnd.pa
	install -d $(DESTDIR)$(pulsedir)
	ln -srf $(DESTDIR)$(sharedir)/xensnd.pa $(DESTDIR)$(pulsedir)

clean:
	rm -rf build xensnd/core/_core.* xensnd/transport/xen/_xen.*
