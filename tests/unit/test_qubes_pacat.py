"""xensnd-pacat in the place of Qubes' program, and back: with dpkg's diversions, and without."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "qubes" / "qubes-pacat"
INSTALLED = """Package: base-files
Status: install ok installed
Maintainer: Nobody <nobody@example.org>
Architecture: all
Version: 1
Description: files

"""
DEBIAN = pytest.param(
    "debian", marks=pytest.mark.skipif(not shutil.which("dpkg-divert"), reason="needs dpkg-divert")
)


@pytest.fixture(params=[DEBIAN, "fedora"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A system with Qubes' program."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    # dpkg may be on Fedora too: without packages.
    status = INSTALLED if request.param == "debian" else ""
    (tmp_path / "var/lib/dpkg/status").write_text(status)
    program(tmp_path).write_text("Qubes'\n")
    return tmp_path


def program(root: Path) -> Path:
    return root / "usr/bin/pacat-simple-vchan"


def kept(root: Path) -> Path:
    return root / "usr/bin/pacat-simple-vchan.qubes"


def switch(root: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run([SCRIPT, *arguments, root], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_our_program_takes_the_place_and_gives_it_back(root: Path) -> None:
    for _ in range(2):  # the second time changes nothing
        assert switch(root, "on") == ""
        assert program(root).readlink() == Path("xensnd-pacat")
        assert kept(root).read_text() == "Qubes'\n"
    for _ in range(2):
        assert switch(root, "off") == ""
        assert not program(root).is_symlink()
        assert program(root).read_text() == "Qubes'\n"
        assert not kept(root).exists()


def test_place_of_a_program_that_is_not_installed_is_empty_afterwards(root: Path) -> None:
    program(root).unlink()
    switch(root, "on")
    assert program(root).is_symlink()
    switch(root, "off")
    assert list((root / "usr/bin").iterdir()) == []


def test_who_runs_qvm_start_daemon_and_the_agent_may_do_what_it_takes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "etc").mkdir()
    (root / "etc/group").write_text("root:x:0:\nqubes:x:98:joanna,user\n")
    commands = tmp_path / "commands"
    commands.mkdir()
    usermod = commands / "usermod"
    usermod.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/told\n')
    usermod.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    settings = root / "etc/systemd/system/xensnd-dom0.service.d/30-qubes.conf"
    switch(root, "on")
    assert (tmp_path / "told").read_text().splitlines() == [
        f"--prefix {root} --append --groups xensnd-session {user}" for user in ("joanna", "user")
    ]
    assert settings.read_text().splitlines()[1:] == ["[Service]", "SupplementaryGroups=qubes"]
    switch(root, "off")
    assert not settings.parent.exists()


def test_what_is_not_in_its_place_is_not_put_there_again(root: Path) -> None:
    switch(root, "again")
    assert program(root).read_text() == "Qubes'\n"
    switch(root, "on")
    switch(root, "again")
    assert program(root).is_symlink()
    switch(root, "off")
    switch(root, "again")
    assert program(root).read_text() == "Qubes'\n"


@pytest.mark.parametrize("root", ["fedora"], indirect=True)
@pytest.mark.parametrize("to", ["on", "again", "off"])
def test_program_that_an_update_has_put_there_again_is_the_one_that_is_kept(
    root: Path, to: str
) -> None:
    switch(root, "on")
    program(root).unlink()
    program(root).write_text("newer\n")
    switch(root, to)
    assert (program(root) if to == "off" else kept(root)).read_text() == "newer\n"
    assert kept(root).exists() is (to != "off")


def test_wrong_usage_is_refused(root: Path) -> None:
    assert switch(root, "away", status=2) == "usage: qubes-pacat on|off|again [ROOT]\n"
