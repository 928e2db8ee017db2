"""Source files are short enough to be read in one sitting."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("xensnd", "agent_dom0", "agent_guest", "agent_session", "policy")
LINES_MAX = 560
SOURCES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.*"))
    if path.suffix in {".py", ".c", ".h"}
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_is_short(folder: str) -> None:
    lines = {
        path.relative_to(ROOT): len(path.read_text().splitlines())
        for path in SOURCES
        if path.is_relative_to(ROOT / folder)
    }
    assert lines
    assert {path: count for path, count in lines.items() if count > LINES_MAX} == {}
