"""The agent dies under the stock driver: card and kernel do not notice, and nothing is lost."""

from __future__ import annotations

from tests.heard import missing_msec
from tests.pulse_server import difference, noise
from tests.xen.dom0 import ALLOW_BOTH, Agent, Pulse
from tests.xen.guest import aplay, arecord, cards, start_aplay
from tests.xen.lab import XenGuest
from tests.xen.remote import Ended, Machine

POLICY = ALLOW_BOTH
PLAYED = Ended(0)
SECOND = 4 * 48000
# More than 1.1 buffers without a period, and ALSA gives up: a second is what aplay asks for here.
LONG_BUFFER = ("--buffer-size=48000", "--period-size=12000")


def worker(dom0: Machine) -> str:
    """The agent below its supervisor."""
    return dom0.do("pgrep", "-n", "-f", "agent_dom0.cli").strip()


def kill_worker(dom0: Machine, agent: Agent) -> None:
    with agent.one_more("stream_taken_over"):
        dom0.do("kill", "-KILL", worker(dom0))


def test_killed_agent_loses_no_frame_of_a_guest_that_plays(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    guest.do("dmesg", "-c")
    played = noise(6)
    with pulse.listening() as ears, start_aplay(guest, played, *LONG_BUFFER) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND)
        kill_worker(dom0, agent)
        ears.listen_until(lambda heard: len(heard.replace(b"\0", b"")) > 3 * SECOND)
        kill_worker(dom0, agent)
        assert playing.ended() == PLAYED
        ears.listen_until(lambda heard: played[-64:] in heard)
        assert missing_msec(played, ears.heard) == []
    assert guest.do("dmesg") == ""
    assert "vsnd" in cards(guest)


def test_killed_agent_leaves_the_card_of_an_idle_guest(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    with agent.one_more("agent_started"):
        dom0.do("kill", "-KILL", worker(dom0))
    played = noise(1, seed=2)
    with pulse.listening() as ears:
        assert aplay(guest, played) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)


def test_killed_agent_lets_a_guest_record_on(
    dom0: Machine, pulse: Pulse, agent: Agent, guest: XenGuest
) -> None:
    spoken = noise(20, seed=3)
    with (
        pulse.microphone(spoken),
        guest.start(
            *("arecord", "-q", "-D", "hw:0,0", "-t", "raw", "-f", "S16_LE", "-r", "48000"),
            *("-c", "2", "-d", "4", *LONG_BUFFER),
        ) as recording,
    ):
        recording.listen_until(lambda heard: len(heard.strip(b"\0")) > SECOND)
        kill_worker(dom0, agent)
        ended = recording.ended()
    assert (ended.status, len(ended.octets)) == (0, 4 * SECOND)
    assert ended.octets[-2048:] in spoken
    assert arecord(guest, 1).status == 0


def test_agent_that_is_upgraded_takes_over_too(pulse: Pulse, agent: Agent, guest: XenGuest) -> None:
    """Stopped and started again: an interpreter starts in seconds here, so the buffer is long."""
    played = noise(12, seed=4)
    options = ("--buffer-size=65536", "--period-size=16384")
    with pulse.listening() as ears, start_aplay(guest, played, *options) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 2 * SECOND)
        with agent.one_more("stream_taken_over"):
            assert agent.stop() == 0
            agent.start()
        ended = playing.ended()
    # Whether aplay outlives it depends on how long the start took; the card does in any case.
    assert ended.status in (0, 1)
    played = noise(1, seed=5)
    with pulse.listening() as ears:
        assert aplay(guest, played) == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
