"""xensnd-policy log, of an audit file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from policy.cli import log
from policy.cli.main import main

NOW = datetime.now(UTC)


def event(message: str, guest: str | None = None, ago: timedelta = timedelta()) -> str:
    fields = {"XENSND_GUEST": guest, "XENSND_DOMID": 7} if guest else {}
    record = {"TIME": (NOW - ago).isoformat(), "MESSAGE_ID": "69e7", "EVENT": "decision",
              "PRIORITY": 5, "MESSAGE": message, **fields}  # fmt: skip
    return json.dumps(record) + "\n"


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    file = tmp_path / "audit.jsonl"
    file.write_text(
        event("work: capture deny", "work", timedelta(hours=3))
        + event("work: capture allow", "work")
        + event("web: capture deny", "web")
        + event("policy was read")
    )
    return file


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["log", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_event_is_a_line_with_its_time(audit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "--file", str(audit))
    assert len(lines) == 4
    assert lines[1] == f"{NOW.astimezone():%Y-%m-%d %H:%M:%S} work: capture allow"


def test_log_of_one_guest(audit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(capsys, "--file", str(audit), "--guest", "web")
    assert line.endswith("web: capture deny")


@pytest.mark.parametrize("since", ["30m", (NOW - timedelta(hours=1)).isoformat(timespec="minutes")])
def test_log_since_a_time(audit: Path, capsys: pytest.CaptureFixture[str], since: str) -> None:
    lines = said(capsys, "--file", str(audit), "--guest", "work", "--since", since)
    assert [line[20:] for line in lines] == ["work: capture allow"]


def test_since_a_time_of_day_is_today(capsys: pytest.CaptureFixture[str], audit: Path) -> None:
    assert len(said(capsys, "--file", str(audit), "--since", "00:00")) in {3, 4}


def test_json_has_all_fields(audit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(capsys, "--file", str(audit), "--guest", "web", "--json")
    assert json.loads(line) == {
        "TIME": NOW.isoformat(),
        "MESSAGE_ID": "69e7",
        "EVENT": "decision",
        "PRIORITY": 5,
        "MESSAGE": "web: capture deny",
        "XENSND_GUEST": "web",
        "XENSND_DOMID": 7,
    }


def test_line_that_is_not_an_event_is_skipped(
    audit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with audit.open("ab") as file:
        file.write(b"[1]\n\xff\xfe{\n\n" + b"[" * 100_000 + b"\n")
        file.write(event("good").rstrip().encode())  # its end is yet to be written
    assert main(["log", "--file", str(audit)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5
    assert err == f"xensnd-policy: {audit}: skipped a line that is not an event\n" * 3


def test_message_cannot_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    file.write_text(event("\033]0;x\007\nforged"))
    (line,) = said(capsys, "--file", str(file))
    assert line[20:] == "\\x1b]0;x\\x07\\nforged"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "soon"], "--since 'soon' is not a time (write such as 30m, 18:00 or "
                              "2026-11-20T18:00)"),
        (["--file", "/none"], "--file /none: No such file or directory"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["log", *arguments]) == 2
    assert capsys.readouterr().err == f"xensnd-policy: {message}\n"


def test_record_of_another_user_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    record: Mapping[str, object] = {"MESSAGE": "x", "__REALTIME_TIMESTAMP": NOW}
    assert log.line({**record, "_UID": 1001}).endswith(" x [written by uid 1001]")
    for uid in (0, 1000):
        assert log.line({**record, "_UID": uid}).endswith(" x")


def test_journals_record_has_the_same_names() -> None:
    identity = UUID("69e775577ac44bb18fe65e1a7d85d90b")
    record = {"MESSAGE": "x", "MESSAGE_ID": identity, "PRIORITY": 5, "_UID": 0, "_EXE": "/x",
              "__REALTIME_TIMESTAMP": NOW, "XENSND_GUEST": "work"}  # fmt: skip
    assert json.loads(log.json_line(record)) == {
        "TIME": NOW.isoformat(),
        "MESSAGE": "x",
        "MESSAGE_ID": identity.hex,
        "PRIORITY": 5,
        "XENSND_GUEST": "work",
        "_UID": 0,
    }


def test_event_that_was_written_late_has_the_time_when_it_happened() -> None:
    then = NOW - timedelta(minutes=10)
    for written in ({"TIME": NOW.isoformat()}, {"__REALTIME_TIMESTAMP": NOW}):
        assert log.time_of({**written, "XENSND_TIME": then.isoformat()}) == then
