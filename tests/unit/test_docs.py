"""What the documents say is what the code does."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent_dom0 import cli
from agent_dom0.events import EventKind
from tests.support import audit_table
from xensnd.sndif.states import BACKEND_TABLE, FRONTEND_TABLE, STREAM_TABLE, to_mermaid

DOCS = Path(__file__).parents[2] / "docs"
SYSTEMD = DOCS.parent / "packaging/systemd"


def test_every_event_stands_in_the_audit_document_with_its_id() -> None:
    documented = {event: row.message_id for event, row in audit_table.rows().items()}
    assert documented == {kind.name.lower(): kind.value for kind in EventKind}


def test_every_field_that_the_agent_writes_stands_in_the_audit_document() -> None:
    modules = set((DOCS.parent / "agent_dom0").rglob("*.py"))
    # The supervisor writes no trail: what it names so is a variable of its environment.
    modules -= set((DOCS.parent / "agent_dom0/supervisor").iterdir())
    agent = "".join(path.read_text() for path in modules)
    rows = audit_table.rows().values()
    documented = {name for row in rows for name in row.always | row.sometimes}
    assert set(re.findall(r"XENSND_[A-Z_]+", agent)) == (
        documented | {audit_table.LATE} | audit_table.NUMBERED
    )


def test_every_option_of_the_agent_stands_in_its_man_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    page = (DOCS / "man/xensnd-dom0.8.md").read_text()
    for option in re.findall(r"(?<!\w)--([a-z-]+)", capsys.readouterr().out):
        assert f"**\\--{option}**" in page


def test_the_state_diagrams_are_those_of_the_tables() -> None:
    states = (DOCS / "states.md").read_text()
    for diagram in (
        to_mermaid(BACKEND_TABLE),
        to_mermaid(FRONTEND_TABLE),
        to_mermaid(STREAM_TABLE),
    ):
        assert diagram in states, "run: python -m tools.draw_states > docs/states.md"


def test_every_event_is_explained_in_the_journal_catalog() -> None:
    entries = (SYSTEMD / "xensnd.catalog").read_text().split("\n-- ")[1:]
    explained = {entry.splitlines()[0]: entry.splitlines()[1:] for entry in entries}
    rows = {row.message_id: row for row in audit_table.rows().values()}
    assert set(explained) == set(rows)
    for message_id, lines in explained.items():
        named = set(re.findall(r"@([A-Z_]+)@", "".join(lines)))
        assert named <= rows[message_id].always
        assert lines[0].startswith("Subject: ")
        assert lines[1:4] == ["Defined-By: xensnd", "Documentation: man:xensnd-policy(1)", ""]
        assert lines[4].strip()


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="needs journalctl")
def test_journalctl_takes_the_catalog(tmp_path: Path) -> None:
    installed = tmp_path / "usr/lib/systemd/catalog"
    installed.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(SYSTEMD / "xensnd.catalog", installed)
    journalctl = ["journalctl", f"--root={tmp_path}"]
    subprocess.run([*journalctl, "--update-catalog"], check=True)
    listed = subprocess.run([*journalctl, "--list-catalog"], capture_output=True, check=True)
    lines = listed.stdout.decode().splitlines()
    assert {line.split()[0] for line in lines} == {kind.value for kind in EventKind}


def _defines(path: Path, name: str) -> bool:
    """Whether this file defines the function, class or method."""
    if path.suffix == ".c":
        return re.search(rf"^[^\s/*].*\b{name}\(", path.read_text(), re.MULTILINE) is not None
    inside: ast.AST = ast.parse(path.read_text())
    for part in name.split("."):
        definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [
            node
            for node in ast.iter_child_nodes(inside)
            if isinstance(node, definitions) and node.name == part
        ]
        if not found:
            return False
        inside = found[0]
    return True


HOP = re.compile(r"^\d+\. `([\w/]+\.(?:py|c))` `([\w.]+)`: ", re.MULTILINE)


def test_every_hop_of_the_ways_through_the_architecture_is_a_function_that_exists() -> None:
    text = (DOCS / "architecture.md").read_text()
    ways = text.partition("## Seven ways")[2].partition("\n## ")[0]
    hops = HOP.findall(ways)
    assert len(hops) == len(re.findall(r"^\d+\. ", ways, re.MULTILINE))
    assert len(ways.split("\n**")) == 1 + 7
    missing = [hop for hop in hops if not _defines(DOCS.parent / hop[0], hop[1])]
    assert missing == []


def test_every_name_of_the_folder_map_is_a_folder_or_a_module() -> None:
    text = (DOCS / "architecture.md").read_text().partition("## The folders")[2].split("```")[1]
    folder = DOCS.parent
    checked = 0
    for line in text.splitlines():
        if heading := re.match(r"(\w+)/ ", line):
            folder = DOCS.parent / heading[1]
            assert folder.is_dir()
        elif names := re.match(r"  (\w[\w/ ]*?)(?:  |$)", line):
            for name in names[1].split():
                path = folder / name
                assert path.is_dir() or path.with_suffix(".py").exists(), path
                checked += 1
    assert checked > 10


ROW = re.compile(r"^\| [\w ]+ \| (`[^|]+`) \| (\d+) \|", re.MULTILINE)
NOT_IN_THE_BASE = ("policy/cli/", "agent_session/", "agent_guest/", "xensnd/localxen/")
# They build the extensions, or are for machines without Xen.
NOT_INSTALLED = ("xensnd/core/build.py", "xensnd/transport/xen/build_xen.py")
NOT_ON_XEN = "xensnd/transport/local/"


def _trusted_parts() -> list[tuple[set[Path], int]]:
    """The files and the number of lines of each row of the trusted computing base."""
    root = DOCS.parent
    rows = ROW.findall((DOCS / "security.md").read_text())
    return [
        (
            {
                file
                for pattern in re.findall(r"`([^`]+)`", patterns)
                for file in root.glob(pattern)
                if file.suffix in {".py", ".c", ".h"}
                and str(file.relative_to(root)) not in NOT_INSTALLED
            },
            int(lines),
        )
        for patterns, lines in rows
    ]


def test_the_trusted_computing_base_has_as_many_lines_as_stated() -> None:
    parts = _trusted_parts()
    assert len(parts) > 10
    for files, stated in parts:
        counted = sum(len(file.read_text().splitlines()) for file in files)
        assert abs(counted - stated) <= max(stated * 0.2, 50), (counted, stated, sorted(files)[:1])


def test_each_file_in_dom0_stands_in_one_row_of_the_trusted_computing_base() -> None:
    root = DOCS.parent
    listed = [file for files, _ in _trusted_parts() for file in files]
    assert len(listed) == len(set(listed))
    installed = {
        file
        for folder in ("agent_dom0", "policy", "xensnd")
        for kind in ("*.py", "*.[ch]")
        for file in (root / folder).rglob(kind)
        if not str(file.relative_to(root)).startswith((*NOT_IN_THE_BASE, NOT_ON_XEN))
        and str(file.relative_to(root)) not in NOT_INSTALLED
    }
    assert installed == set(listed)
