"""The command line and the pidfile of xensnd-pacat."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from agent_session.pacat import main


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it says when it refuses, in one line."""
    try:
        status = main(arguments)
    except SystemExit as exited:
        status = int(str(exited.code))
    assert status == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err.rstrip("\n")


@pytest.mark.parametrize(
    "xid",
    ["0", "-1", "x", "7x", "", "32752", "99999999999999999999", "00000000199999999", "\u0667"],
)
def test_number_that_is_no_guests_is_refused(capsys: pytest.CaptureFixture[str], xid: str) -> None:
    said = refusal(capsys, "-l", "--", xid, "work")
    assert f"{xid!r} is no guest's number; give 1 to 32751" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["7"], "the following arguments are required: NAME"),
        ([], "the following arguments are required: XID, NAME"),
        (["-t", "much", "7", "work"], "'much' is no number of octets"),
        (["-t", "4294967296", "7", "work"], "'4294967296' is no number of octets"),
        (["-V", "50", "7", "work"], "-V: the agent keeps the volume"),
        (["-x", "7", "work"], "unrecognized arguments: -x"),
    ],
)
def test_wrong_usage_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refusal(capsys, *arguments)


def test_directory_of_the_pidfile_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pidfile = tmp_path / "qubes" / "pacat.7"
    said = refusal(capsys, f"--pidfile={pidfile}", "-l", "7", "work")
    expected = "no such directory; this is for Qubes, or give --pidfile"
    assert said == f"xensnd-pacat: {pidfile.parent}: {expected}"
    assert not pidfile.parent.exists()


def test_pidfile_that_another_process_holds_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pidfile = tmp_path / "pacat.7"
    pidfile.write_text("4321\n")
    held = os.open(pidfile, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = refusal(capsys, f"--pidfile={pidfile}", "-l", "-n", "-b", "-t", "4096", "7", "work")
    finally:
        os.close(held)
    expected = "process 4321 serves domain 7 already; end it first (SIGTERM)"
    assert said == f"xensnd-pacat: {pidfile}: {expected}"
    assert pidfile.read_text() == "4321\n"
