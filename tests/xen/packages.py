"""Our packages, as they are made for users, and the same again as a later version."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.cache import run
from tests.xen.remote import Machine

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS = 300  # emulated, Python compiles slowly
INBOX = "/run/packages"


def build_packages(to: Path) -> Path:
    """Of what is committed, without its own tests. A directory of .debs."""
    to.mkdir(parents=True, exist_ok=True)
    nocheck = ("DEB_BUILD_OPTIONS=nocheck", "DEB_BUILD_PROFILES=nocheck")
    run("env", *nocheck, ROOT / "tools/make-packages", "deb", to)
    for debug in to.glob("*-dbgsym_*.deb"):
        debug.unlink()
    return to


def build_later(packages: Path, to: Path, version: str) -> Path:
    """A later version: nothing has changed but that, in the packages and in what they say."""
    to.mkdir(parents=True, exist_ok=True)
    for package in packages.glob("*.deb"):
        unpacked = to / package.stem
        run("dpkg-deb", "--raw-extract", package, unpacked)
        control = unpacked / "DEBIAN/control"
        (before,) = re.findall(r"^Version: (.*)$", control.read_text(), re.MULTILINE)
        control.write_text(control.read_text().replace(before, f"{version}-1"))
        said = unpacked / "usr/lib/xensnd/xensnd/version.py"
        if said.exists():
            said.write_text(f'VERSION = "{version}"\n')
        run("dpkg-deb", "--root-owner-group", "--build", unpacked, to)
        run("rm", "-r", unpacked)
    return to


def install(machine: Machine, packages: Path, *names: str) -> None:
    """With apt, which has no network here: what they depend on is there."""
    machine.do("mkdir", "-p", INBOX)
    files = []
    for name in names:
        (package,) = packages.glob(f"{name}_*.deb")
        files.append(f"{INBOX}/{package.name}")
        machine.write_file(files[-1], package.read_bytes())
    apt(machine, "install", "--no-install-recommends", *files)


def apt(machine: Machine, *arguments: str) -> None:
    machine.do(
        *("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"),
        *arguments,
        seconds=INSTALL_SECONDS,
    )
