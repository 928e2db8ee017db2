"""Policy is asked at use, in each direction, and followed while sound runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.support.agents import ALLOW_PLAYBACK, Dom0, Ended, Guest
from tests.support.pulse_server import PulseServer, difference, noise
from tests.support.raw_frontend import eventually

DONE = Ended(0)
FRAME_OCTETS = 4
SECOND = 48000 * FRAME_OCTETS
PERIOD_SECONDS = 0.025  # of xensnd-guest record: an eighth of its 200 ms
ALLOW_CAPTURE = ALLOW_PLAYBACK.replace("playback: allow", "playback: deny").replace(
    "capture: deny", "capture: allow"
)


@pytest.fixture(autouse=True)
def policy(dom0: Dom0) -> Iterator[None]:
    yield
    dom0.use(ALLOW_PLAYBACK)


def seconds_between(earlier: dict[str, Any], later: dict[str, Any]) -> float:
    """Of two records of the audit trail."""
    times = [datetime.fromisoformat(record["TIME"]) for record in (earlier, later)]
    return (times[1] - times[0]).total_seconds()


# Capture


def test_recording_without_permission_gets_silence_in_real_time(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    with (
        pulse.microphone(noise(4)),
        work.start("record", "-", "--seconds=1") as recording,
    ):
        decision = dom0.await_event("decision", domid=work.domid)
        with pulse.mixer() as mixer:
            clients = [each.proplist.get("application.name") for each in mixer.client_list()]
            assert "work" not in clients
        assert recording.ended() == DONE
        assert recording.heard == bytes(SECOND)
    closed = dom0.await_event("stream_closed", domid=work.domid)
    assert 1 <= seconds_between(decision, closed) < 4


def test_denied_capture_is_audited_with_the_rule_that_denies_it(dom0: Dom0, work: Guest) -> None:
    with work.start("record", "-", "--seconds=0.1") as recording:
        assert recording.ended() == DONE
    decision = dom0.await_event("decision", domid=work.domid)
    del decision["TIME"], decision["XENSND_INSTANCE"], decision["XENSND_SEQUENCE"]
    reason = "first rule that matches and names capture: guest: '*', playback: allow, capture: deny"
    assert decision == {
        "MESSAGE_ID": "69e775577ac44bb18fe65e1a7d85d90b",
        "EVENT": "decision",
        "PRIORITY": 5,
        "MESSAGE": f"work: capture deny ({dom0.policy_file}:3: {reason})",
        "XENSND_GUEST": "work",
        "XENSND_DOMID": work.domid,
        "XENSND_DIRECTION": "capture",
        "XENSND_DECISION": "deny",
        "XENSND_REASON": reason,
        "XENSND_RULE_FILE": str(dom0.policy_file),
        "XENSND_RULE_LINE": 3,
    }


def test_capture_that_no_rule_speaks_of_is_denied(dom0: Dom0, work: Guest) -> None:
    dom0.use("version: 1\nrules:\n- guest: work\n  playback: allow\n")
    with work.start("record", "-", "--seconds=0.1") as recording:
        assert recording.ended() == DONE
        assert recording.heard == bytes(SECOND // 10)
    decision = dom0.await_event("decision", domid=work.domid)
    assert decision["XENSND_DECISION"] == "deny"
    assert decision["XENSND_REASON"] == "no rule matches and names capture"
    assert "XENSND_RULE_FILE" not in decision


@pytest.mark.sound
def test_allowed_capture_goes_live_and_denied_capture_falls_silent_at_once(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    spoken = noise(60)
    with (
        pulse.microphone(spoken),
        work.start("record", "-", "--seconds=60") as recording,
    ):
        assert not recording.listen_until(lambda heard: len(heard) > SECOND / 4).strip(b"\0")

        assert dom0.policy("allow-capture", "work").returncode == 0
        live = recording.listen_until(lambda heard: heard.strip(b"\0"), seconds=1)
        assert live.strip(b"\0"), "no sound within 1 s"
        allowed = dom0.await_event("decision", domid=work.domid, decision="allow")
        recording.listen_until(lambda heard: len(heard) > len(live) + SECOND / 2)

        assert dom0.policy("deny-capture", "work").returncode == 0
        denied = dom0.await_event("decision", domid=work.domid, decision="deny", count=2)
        arrived = len(recording.heard)
        recorded = recording.listen_until(lambda heard: len(heard) > arrived + SECOND)

    assert allowed["XENSND_RULE_FILE"] == denied["XENSND_RULE_FILE"] == str(dom0.policy_file)
    sound = recorded.strip(b"\0")
    assert sound in spoken, difference(sound, spoken)
    start = recorded.index(sound)
    assert start % FRAME_OCTETS == 0
    assert len(sound) % FRAME_OCTETS == 0
    # What had arrived when the record was seen, what lay ready for the guest, and a late reader.
    assert start + len(sound) <= arrived + (2 * PERIOD_SECONDS + 0.2) * SECOND


def test_source_output_of_the_guest_is_there_only_while_it_may_record(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    def source_outputs() -> list[str]:
        with pulse.mixer() as mixer:
            outputs = mixer.source_output_list()
            return [each.name for each in outputs if each.name.startswith("work")]

    with work.start("record", "-", "--seconds=20") as recording:
        dom0.await_event("decision", domid=work.domid, decision="deny")
        assert source_outputs() == []
        dom0.policy("allow-capture", "work")
        assert eventually(source_outputs) == ["work capture"]
        dom0.policy("deny-capture", "work")
        assert eventually(lambda: not source_outputs())
        assert recording.is_running


@pytest.mark.sound
def test_policy_of_one_guest_leaves_the_recording_of_another(
    dom0: Dom0, pulse: PulseServer, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    other = new_guest("other")
    spoken = noise(12)
    dom0.policy("allow-capture", "other")
    with (
        pulse.microphone(spoken),
        other.start("record", "-", "--seconds=1.5") as others,
        work.start("record", "-", "--seconds=1.5") as recording,
    ):
        others.listen_until(lambda heard: heard.strip(b"\0"))
        for command in ("allow-capture", "deny-capture"):
            assert dom0.policy(command, "work").returncode == 0
        assert others.ended() == DONE
        assert recording.ended() == DONE
        sound = others.heard.lstrip(b"\0")
        assert sound in spoken, difference(sound, spoken)
        assert len(sound) > SECOND / 2


# Playback


def test_playing_without_permission_takes_real_time_and_is_not_heard(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(ALLOW_CAPTURE)
    with pulse.listening() as ears:
        assert work.run("play", "-", stdin=noise(1)) == DONE
        assert not ears.heard.strip(b"\0")
    decision = dom0.await_event("decision", domid=work.domid)
    assert (decision["XENSND_DIRECTION"], decision["XENSND_DECISION"]) == ("playback", "deny")
    closed = dom0.await_event("stream_closed", domid=work.domid)
    assert 1 <= seconds_between(decision, closed) < 4


def test_playing_without_permission_makes_no_sink_input(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(ALLOW_CAPTURE)
    with work.start("play", "-", stdin=[noise(20)]):
        dom0.await_event("decision", domid=work.domid, decision="deny")
        with pulse.mixer() as mixer:
            assert mixer.sink_input_list() == []
            clients = [each.proplist.get("application.name") for each in mixer.client_list()]
            assert "work" not in clients


@pytest.mark.sound
def test_playback_is_heard_from_when_it_is_allowed_until_it_is_denied(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.use(ALLOW_CAPTURE)
    played = noise(60)
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        dom0.await_event("decision", domid=work.domid, decision="deny")
        assert dom0.policy("allow-playback", "work").returncode == 0
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND / 4)
        assert dom0.policy("deny-playback", "work").returncode == 0
        dom0.await_event("decision", domid=work.domid, decision="deny", count=2)
        heard = len(ears.heard)
        ears.listen_until(lambda heard_by_then: len(heard_by_then) > heard + SECOND)
        assert not ears.heard[-SECOND // 4 :].strip(b"\0")
        assert playing.is_running
        sound = ears.heard.strip(b"\0")
    assert len(sound) > SECOND / 4
    assert sound in played, difference(sound, played)
