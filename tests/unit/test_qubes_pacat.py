"""xensnd-pacat in the place of Qubes' program, and back: with dpkg's diversions, and without."""

from __future__ import annotations

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


@pytest.mark.parametrize("root", ["fedora"], indirect=True)
@pytest.mark.parametrize("to", ["on", "off"])
def test_program_that_an_update_has_put_there_again_is_the_one_that_is_kept(
    root: Path, to: str
) -> None:
    switch(root, "on")
    program(root).unlink()
    program(root).write_text("newer\n")
    switch(root, to)
    assert (kept(root) if to == "on" else program(root)).read_text() == "newer\n"
    assert kept(root).exists() is (to == "on")


def test_wrong_usage_is_refused(root: Path) -> None:
    assert switch(root, "away", status=2) == "usage: qubes-pacat on|off [ROOT]\n"
