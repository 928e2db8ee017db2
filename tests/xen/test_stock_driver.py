"""An unmodified Debian kernel's snd_xen_front plays and records through xensnd-dom0."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.pulse_server import difference, noise
from tests.xen.dom0 import ALLOW_BOTH, ALLOW_PLAYBACK, Agent, Pulse
from tests.xen.guest import aplay, arecord, assert_recorded, plays_exactly, start_aplay
from tests.xen.lab import XenGuest
from tests.xen.remote import Ended

POLICY = ALLOW_BOTH

PLAYED = Ended(0)


def test_five_seconds_are_heard_octet_for_octet(
    pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    played = noise(5)
    with (
        agent.one_more("decision", guest="work", direction="playback", decision="allow"),
        pulse.listening() as ears,
    ):
        assert aplay(guest, played) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)


def test_two_seconds_are_recorded_octet_for_octet(pulse: Pulse, guest: XenGuest) -> None:
    spoken = noise(8, seed=2)
    with pulse.microphone(spoken):
        recorded = arecord(guest, 2)
    assert_recorded(recorded, spoken, 2)


def test_denied_capture_is_silence_with_status_0(
    pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    agent.use(ALLOW_PLAYBACK)
    try:
        with (
            agent.one_more("decision", guest="work", direction="capture", decision="deny"),
            pulse.microphone(noise(8, seed=3)),
        ):
            recorded = arecord(guest, 2)
    finally:
        agent.use(ALLOW_BOTH)
    assert recorded == Ended(0, octets=bytes(2 * 48000 * 4))


@pytest.mark.parametrize(
    ("period", "buffer", "seconds"),
    [
        # The shortest period; a second, most of which is written before it starts: each WRITE
        # takes emulated machines longer than 64 frames last.
        (64, 45000, 1),
        (480, 45000, 2),  # a buffer that is no power of two
        (7500, 45000, 2),
        (9600, 65536, 2),
    ],
)
def test_period_and_buffer_of_any_size_are_exact(
    pulse: Pulse, guest: XenGuest, period: int, buffer: int, seconds: int
) -> None:
    played = noise(seconds, seed=period)
    with pulse.listening() as ears:
        assert aplay(guest, played, f"--period-size={period}", f"--buffer-size={buffer}") == PLAYED
        assert ears.hears(played), difference(played, ears.heard)


def test_player_that_was_stopped_for_two_seconds_goes_on_and_nothing_is_lost(
    pulse: Pulse, guest: XenGuest
) -> None:
    """XRUN: STOP, no OPEN, WRITEs from offset 0, START."""
    played = noise(5, seed=4)
    with pulse.listening() as ears, start_aplay(guest, played) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 192000)
        playing.signal(signal.SIGSTOP)
        time.sleep(2)
        playing.signal(signal.SIGCONT)
        ended = playing.ended()
        assert ended.status == 0
        assert "underrun" in ended.errors
        assert ears.hears(played[-1000:]), difference(played, ears.heard)
        # There is no 0 in what was played: what remains without silence is what was heard.
        assert ears.heard.replace(b"\0", b"") == played


def test_player_that_is_ended_early_spoils_nothing_for_the_next(
    pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    with pulse.listening() as ears, start_aplay(guest, noise(5, seed=5)) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 96000)
        playing.signal(signal.SIGINT)
        playing.ended()
    played = noise(1, seed=6)
    with pulse.listening() as ears:
        assert aplay(guest, played) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
    assert agent.events("protocol_violation") == []


def test_playback_and_capture_at_once_are_exact(pulse: Pulse, guest: XenGuest) -> None:
    played, spoken = noise(4, seed=7), noise(10, seed=8)
    with pulse.microphone(spoken), pulse.listening() as ears:
        with start_aplay(guest, played) as playing:
            recorded = arecord(guest, 2)
            assert playing.ended() == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
    assert_recorded(recorded, spoken, 2)


def test_parameters_changed_without_closing_are_exact(
    pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    """The driver frees the buffer's pages without CLOSE, and sends OPEN again."""
    played = noise(3, seed=9)
    with pulse.listening() as ears:
        ended = raw_pcm(guest, played, "9600,38400", "4800,45000", "16384,65536")
        assert ended == PLAYED
        ears.listen_until(lambda heard: played[-64:] in heard)
        assert ears.heard.replace(b"\0", b"") == played
    assert agent.events("protocol_violation") == []


def test_parameters_set_and_not_used_are_closed_without_open(
    pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    opened = len(agent.events("stream_opened"))
    assert raw_pcm(guest, b"", "9600,38400") == PLAYED
    assert len(agent.events("stream_opened")) == opened
    plays_exactly(pulse, guest, 10)
    assert agent.events("protocol_violation") == []


def test_guests_kernel_has_nothing_to_say_of_all_that(guest: XenGuest) -> None:
    """It would of pages that are freed while dom0 has them mapped ("g.e. ... still in use")."""
    said = guest.do("dmesg")
    assert "g.e." not in said
    assert "Call Trace" not in said


def raw_pcm(guest: XenGuest, played: bytes, *sizes: str) -> Ended:
    return guest.run(
        *("python3", "-m", "tests.xen.raw_pcm", *sizes),
        stdin=played,
        env={"PYTHONPATH": "/opt/xensnd"},
    )
