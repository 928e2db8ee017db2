"""The status as text, at several widths."""
# ruff: noqa: E501 - as wide as terminals

from __future__ import annotations

import re
from typing import Any

import pytest

from policy.cli.terminal import columns_of, fitted
from policy.cli.view import Display, meter, plain, table
from tests.support.fake_agent import guest, prompt, status, stream

PLAYS = stream(
    "0/0",
    direction="playback",
    device="speakers",
    level=0.5,
    source="/x/90-default.yaml:4",
    is_muted=True,
)
BUSY = status(
    guest("work", stream(), PLAYS, label="blue", records=True, plays=True),
    guest("personal", domid=9),
    guest("web-1", stream(decision="deny", is_heard=False, device=None, level=0.0), domid=11),
    prompts=(prompt(3, "web-2"),),
)


def shown(columns: int, what: Any = BUSY, **display: bool) -> list[str]:
    return table(what, Display(columns, **display))


PLAIN = """\
agent: 0.1.0, pid 812, transport xen:, since 2026-11-20T09:12:00+00:00
policy: good: 4 rules, /etc/xensnd/policy.d
audit: journal, 0 missing
audio server: 2 of 24 connections, 1 playback and 2 capture streams of 224 each
prompt 3: web-2 wants to record, 30 s to answer
work: domid 7, label blue, records and plays
work: device 0 connected
work: stream 0/1 capture running, allow, connected with microphone, s16_le 48000 Hz, 2 channels, buffer 65536 octets, latency 21.5 ms, level 31%, volume 60%, gaps 0, late 0 octets (/etc/xensnd/policy.d/30-user.yaml:4)
work: stream 0/0 playback running, allow, connected with speakers, s16_le 48000 Hz, 2 channels, buffer 65536 octets, latency 21.5 ms, level 50%, volume 60% muted, gaps 0, late 0 octets (/x/90-default.yaml:4)
personal: domid 9, silent
personal: device 0 connected
web-1: domid 11, silent
web-1: device 0 connected
web-1: stream 0/1 capture running, deny, not connected, s16_le 48000 Hz, 2 channels, buffer 65536 octets, latency 21.5 ms, level 0%, volume 60%, gaps 0, late 0 octets (/etc/xensnd/policy.d/30-user.yaml:4)
"""
WIDE = """\
xensnd-dom0 0.1.0 since 2026-11-20 09:12 | policy good: 4 rules | audit journal
prompt 3: web-2 wants to record, 30 s to answer

GUEST          STREAM       POLICY LEVEL        VOL LATENCY RULE              SOUND
work     ● REC 0/1 capture  allow  ████████▎·   60% 21.5 ms 30-user.yaml:4    s16_le 48000 Hz, 2 channels
               0/0 playback allow  █████████· muted 21.5 ms 90-default.yaml:4 s16_le 48000 Hz, 2 channels
personal       connected
web-1          0/1 capture  deny   silence      60% 21.5 ms 30-user.yaml:4    s16_le 48000 Hz, 2 channels

● recording now: work (30-user.yaml:4)
"""
MIDDLE = """\
xensnd-dom0 0.1.0 since 2026-11-20 09:12 | policy good: 4 rules | audit journal
prompt 3: web-2 wants to record, 30 s to answer

GUEST          STREAM       POLICY LEVEL        VOL LATENCY RULE
work     ● REC 0/1 capture  allow  ████████▎·   60% 21.5 ms 30-user.yaml:4
               0/0 playback allow  █████████· muted 21.5 ms 90-default.yaml:4
personal       connected
web-1          0/1 capture  deny   silence      60% 21.5 ms 30-user.yaml:4

● recording now: work (30-user.yaml:4)
"""
NARROW = """\
xensnd-dom0 0.1.0 since 2026-11-20 09:1…
prompt 3: web-2 wants to record, 30 s t…

GUEST          STREAM       LEVEL
work     ● REC 0/1 capture  ████████▎·
               0/0 playback █████████·
personal       connected
web-1          0/1 capture  silence

● recording now: work (30-user.yaml:4)
"""


def test_plain_lines_start_with_the_guest_and_can_be_searched() -> None:
    assert list(plain(BUSY)) == PLAIN.splitlines()


def test_stream_that_is_not_connected_says_why() -> None:
    silent = stream(is_heard=False, device=None, problem="audio server unix:/x: Connection refused")
    what = status(guest("work", silent, silent), guest("web", silent))
    assert (
        "work: stream 0/1 capture running, allow, not connected: audio server "
        "unix:/x: Connection refused, "
    ) in "\n".join(plain(what))
    assert shown(130, what)[1] == (
        "NOT CONNECTED: audio server unix:/x: Connection refused: work, web"
    )


def test_sink_with_more_streams_than_are_mixed_is_told_with_what_to_do() -> None:
    crowded = status()
    crowded["server"]["crowded_sinks"] = [{"name": "speakers", "streams": 33, "mixed_max": 32}]
    said = (
        "ink speakers: 33 streams play at once, of which 32 are heard at most: name another sink "
        "(device:) in the rules of some guests"
    )
    assert f"s{said}" in list(plain(crowded))
    assert f"S{said}" in shown(130, crowded)


def test_table_at_130_columns() -> None:
    assert shown(130) == WIDE.splitlines()


def test_table_at_80_columns_leaves_out_what_matters_least() -> None:
    assert shown(80) == MIDDLE.splitlines()


def test_table_at_40_columns_still_shows_who_records() -> None:
    assert shown(40) == NARROW.splitlines()


@pytest.mark.parametrize("columns", range(7, 140))
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    long = status(guest("w" * 60, stream(), records=True), guest("漢字" * 20, stream()))
    for what in (BUSY, long, status()):
        assert all(columns_of(line) <= columns for line in shown(columns, what))


def test_without_unicode_the_dot_and_the_meter_are_ascii() -> None:
    lines = shown(80, has_unicode=False)
    assert all(line.isascii() for line in lines)
    assert "* REC" in lines[4]
    assert "########.." in lines[4]


def test_meter_is_yellow_where_it_is_loud_and_red_where_it_distorts() -> None:
    loud = status(guest("work", stream(level=1.0), records=True))
    bar = "\033[32m████████\033[0m\033[33m█\033[0m\033[31m█\033[0m"
    assert bar in shown(80, loud, has_colours=True)[3]


def test_name_has_the_colour_of_the_guests_label() -> None:
    labelled = status(guest("work", label="blue"), guest("vault", label="black"), guest("web"))
    lines = shown(80, labelled, has_colours=True)[3:6]
    assert [line.split()[0] for line in lines] == ["\033[34mwork", "vault", "web"]


def test_colours_change_no_character_of_the_table() -> None:
    coloured = shown(80, has_colours=True)
    assert "\033[31m● REC\033[0m" in coloured[4]
    assert coloured[-1] == "\033[31m● recording now: work (30-user.yaml:4)\033[0m"
    bare = [re.sub(r"\033\[\d+m", "", line).rstrip() for line in coloured]
    assert bare == shown(80)


def test_capture_in_silence_is_not_shown_as_recording() -> None:
    silent = status(guest("work", stream(is_heard=False, level=0.9)))
    lines = shown(80, silent)
    assert not any("REC" in line or "█" in line for line in lines)
    assert lines[-1] == "nobody records"


def test_bad_policy_is_shown_first() -> None:
    bad = status(policy={"directories": [], "rules": 0, "problem": "a.yaml:1:1: no"})
    assert shown(80, bad)[1] == "POLICY IS BAD, nobody records: a.yaml:1:1: no"
    assert "policy: bad: a.yaml:1:1: no, " in list(plain(bad))


def test_guests_of_one_name_are_told_before_the_table() -> None:
    twins = status(
        guest("work", domid=7, shares_name=True), guest("work", domid=8, shares_name=True)
    )
    assert shown(80, twins)[1] == "TWO GUESTS ARE NAMED work: neither may record"
    lines = [line for line in plain(twins) if line.startswith("work: domid")]
    assert [line.endswith("silent, not the only guest of this name") for line in lines] == [
        True,
        True,
    ]
    assert not any("NAMED" in line for line in shown(80))


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.9, "60 s"), (480, "8 min"), (86400, "24 h")]
)
def test_guest_in_quarantine_is_told_before_the_table(seconds: float, said: str) -> None:
    evil = status(guest("evil", quarantine_seconds=seconds))
    assert shown(80, evil)[1] == f"QUARANTINE: evil is not served for {said} (release evil)"
    assert f"evil: in quarantine for {said} more" in list(plain(evil))
    assert not any("QUARANTINE" in line for line in shown(80, status(guest("work"))))


def test_name_of_a_guest_cannot_command_the_terminal() -> None:
    evil = status(guest("\033[2Jx\n\u202eroot", stream(), records=True))
    for lines in (shown(80, evil), list(plain(evil))):
        assert all(line.isprintable() for line in lines)
    assert list(plain(evil))[4].startswith("\\x1b[2Jx\\n\\u202eroot: domid 7")


def test_answer_of_another_version_is_shown_as_far_as_it_goes() -> None:
    odd: dict[str, Any] = {"guests": [{"name": "work", "devices": [{"streams": [{}]}]}]}
    assert list(plain(odd))[3:] == [
        "work: domid -, silent",
        "work: device - -",
        "work: stream - - -, -, not connected, -, latency -, level 0%, volume -, gaps -, late - octets (-)",
    ]
    assert shown(80, odd)


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (0, "··········"),
        (0.001, "··········"),
        (0.0011, "▏·········"),
        (0.0316, "█████·····"),
        (0.04, "█████▍····"),
        (1.0, "██████████"),
        (7.0, "██████████"),
    ],
)
def test_meter_counts_in_decibels(level: float, text: str) -> None:
    assert meter(level, Display()) == text


def test_wide_characters_are_cut_by_columns() -> None:
    assert fitted("漢字", 3) == "漢…"
    assert fitted("漢字", 2) == "… "
    assert fitted("ab", 4) == "ab  "
    assert fitted("abc", 0) == ""


def test_what_qubes_says_of_a_guest_has_a_line_of_its_own() -> None:
    known = {"class": "DispVM", "dispvm_of": "web-dvm", "template": "debian-12", "tags": ["a", "b"]}
    lines = list(plain(status({**guest("disp7"), **known})))
    assert "disp7: class DispVM, of web-dvm, template debian-12, tags a b" in lines
