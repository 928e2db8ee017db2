"""Files that are replaced: all of the new content, or the old."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xensnd.files import replace_file


@pytest.mark.parametrize("is_synced", [True, False])
def test_file_is_replaced_and_nothing_else_is_left(tmp_path: Path, is_synced: bool) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    replace_file(path, b"new", is_synced=is_synced)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["state"]


def test_reader_of_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    with path.open() as reader:
        replace_file(path, b"new")
        assert reader.read() == "old"


def test_file_is_its_owners_alone_unless_prepared(tmp_path: Path) -> None:
    path = tmp_path / "state"
    replace_file(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600
    replace_file(path, b"new", prepare=lambda fd: os.fchmod(fd, 0o644))
    assert path.stat().st_mode & 0o777 == 0o644


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    def fail(_fd: int) -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        replace_file(path, b"new", prepare=fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["state"]


def test_what_a_killed_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".state.new").write_text("half a")
    replace_file(tmp_path / "state", b"new")
    assert os.listdir(tmp_path) == ["state"]
