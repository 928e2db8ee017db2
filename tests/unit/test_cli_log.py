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
    """Not of root, of oneself, and of the user that the installed agent runs as."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("policy.owners._agent_uid", lambda: 990)
    record: Mapping[str, object] = {"MESSAGE": "x", "__REALTIME_TIMESTAMP": NOW}
    assert log.line({**record, "_UID": 1001}).endswith(" x [written by uid 1001]")
    for uid in (0, 1000, 990):
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


# log --verify


def numbered(number: int, instance: str = "a1", ago: timedelta = timedelta()) -> str:
    record = json.loads(event(f"event {number}", "work", ago))
    return json.dumps({**record, "XENSND_INSTANCE": instance, "XENSND_SEQUENCE": number}) + "\n"


def shown(ago: timedelta = timedelta()) -> str:
    return f"{(NOW - ago).astimezone():%Y-%m-%d %H:%M:%S}"


def verified(
    capsys: pytest.CaptureFixture[str], file: Path, *arguments: str
) -> tuple[int, list[str]]:
    status = main(["log", "--verify", "--file", str(file), *arguments])
    return status, capsys.readouterr().out.splitlines()


def test_whole_trail_has_nothing_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    file.write_text("".join(map(numbered, range(40, 50))))  # its beginning was rotated away
    whole = f"a1: events 40 to 49, from {shown()} to {shown()}"
    assert verified(capsys, file) == (0, [whole, "nothing is missing"])


def test_records_that_were_removed_are_named_with_the_times_around_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    hour = timedelta(hours=1)
    ages = {1: 9 * hour, 2: 8 * hour, 4: 6 * hour, 8: 2 * hour, 9: hour}
    file.write_text("".join(numbered(number, ago=ago) for number, ago in ages.items()))
    status, lines = verified(capsys, file)
    assert status == 1
    assert lines == [
        f"a1: events 1 to 9, from {shown(9 * hour)} to {shown(hour)}",
        f"  event 3 is missing, between {shown(8 * hour)} and {shown(6 * hour)}",
        f"  3 events are missing, 5 to 7, between {shown(6 * hour)} and {shown(2 * hour)}",
        "events are missing",
    ]


def test_damaged_line_is_a_missing_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    file.write_text(numbered(1) + numbered(2)[:30] + "\n" + numbered(3))
    status, lines = verified(capsys, file)
    assert (status, lines[1]) == (1, f"  event 2 is missing, between {shown()} and {shown()}")


def test_order_of_the_records_does_not_matter_nor_one_that_is_there_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    file.write_text("".join(map(numbered, (5, 7, 6, 2, 3, 3, 9, 4, 8, 5))))
    status, lines = verified(capsys, file)
    assert (status, lines[0][:20]) == (0, "a1: events 2 to 9, f")


def test_each_row_of_numbers_is_whole_for_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    file.write_text(numbered(1) + numbered(2) + numbered(1, "b2") + numbered(3, "b2"))
    status, lines = verified(capsys, file)
    assert status == 1
    assert [line.split(",")[0] for line in lines] == [
        "a1: events 1 to 2",
        "b2: events 1 to 3",
        "  event 2 is missing",
        "events are missing",
    ]


def test_verified_since_a_time_includes_what_was_written_late(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit"
    hour = timedelta(hours=1)
    file.write_text(
        numbered(1, ago=3 * hour) + numbered(3) + numbered(4, ago=2 * hour) + numbered(5)
    )
    assert verified(capsys, file, "--since", "1h")[0] == 0
    assert verified(capsys, file)[0] == 1


def test_trail_without_numbers_proves_nothing(
    audit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", "--verify", "--file", str(audit)]) == 1
    out, err = capsys.readouterr()
    assert out == "4 events without a number: an older agent wrote them\n"
    assert err == (
        "xensnd-policy: no event with a number that you may see, so nothing can be said of a loss\n"
    )


def test_nobody_elses_record_fills_a_gap(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    written = [(1, 1000), (2, 1001), (3, 1000)]
    records = [
        {"XENSND_INSTANCE": "a1", "XENSND_SEQUENCE": number, "_UID": uid} for number, uid in written
    ]
    monkeypatch.setattr(log, "_from_journal", lambda *_: iter(records))
    assert main(["log", "--verify"]) == 1
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        "a1: events 1 to 3",
        "  event 2 is missing",
        "a1 [written by uid 1001]: events 2 to 2",
        "events are missing",
    ]


@pytest.mark.parametrize("option", [["--guest", "work"], ["--follow"], ["--json"]])
def test_whether_events_are_missing_is_said_of_all_events(
    audit: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert main(["log", "--verify", "--file", str(audit), *option]) == 2
    assert capsys.readouterr().err == (
        "xensnd-policy: --verify reads all events: leave out --guest, --follow and --json\n"
    )
