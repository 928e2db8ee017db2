"""The source, as `make dist` gives it to whoever packages it."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from tests.packages.builder import ROOT, commit_time, make
from xensnd.version import VERSION

NAME = f"xensnd-{VERSION}"


def test_source_is_what_is_committed_but_for_debians_part(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    committed = {f"{NAME}/{name}" for name in listed.stdout.splitlines()}
    with tarfile.open(make("source", tmp_path) / f"{NAME}.tar.xz") as source:
        members = source.getmembers()
    assert {each.name for each in members if not each.isdir()} == {
        name for name in committed if not name.startswith(f"{NAME}/debian/")
    }
    assert {each.mtime for each in members} == {int(commit_time())}
    assert {each.mode & 0o7022 for each in members} == {0}


def test_source_is_the_same_each_time(tmp_path: Path) -> None:
    one, other = (make("source", tmp_path / name) / f"{NAME}.tar.xz" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
