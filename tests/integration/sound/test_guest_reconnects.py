"""A card that is lost in the middle of a file, or a guest that stands still: it goes on where it
was heard.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.agents import Dom0, Guest
from tests.support.heard import RATE_HZ, gaps, missing_msec, seconds_heard, without_silence
from tests.support.pulse_server import PulseServer, noise

SECOND = 4 * 48000
POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'


def test_playing_goes_on_with_the_next_card(work: Guest, dom0: Dom0, pulse: PulseServer) -> None:
    played = noise(2.5)
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        ears.listen_until(lambda heard: len(heard.strip(b"\0")) > 4 * 48000)
        work.replace_card()
        dom0.await_event("stream_opened", guest="work", domid=work.domid, count=2)
        ended = playing.ended()
        assert ended.status == 0
        assert "going on as soon as it is back" in ended.errors
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 5)
    assert missing_msec(played, heard) == []


def test_recording_goes_on_with_the_next_card(work: Guest, dom0: Dom0, tmp_path: Path) -> None:
    file = tmp_path / "recorded.wav"
    with work.start("record", str(file), "--seconds=2") as recording:
        dom0.await_event("stream_opened", guest="work", domid=work.domid)
        work.replace_card()
        dom0.await_event("stream_opened", guest="work", domid=work.domid, count=2)
        assert recording.ended().status == 0
    assert file.stat().st_size == 44 + 2 * 48000 * 4


@pytest.mark.usefixtures("dom0")
def test_guest_that_stands_still_while_it_plays_is_heard_whole(
    work: Guest, pulse: PulseServer
) -> None:
    played = noise(2.5)
    with pulse.listening() as ears, work.start("play", "-", stdin=[played]) as playing:
        ears.listen_until(seconds_heard(1))
        playing.process.send_signal(signal.SIGSTOP)
        ears.listen_until(lambda heard: heard.endswith(bytes(2 * 48000)))
        playing.process.send_signal(signal.SIGCONT)
        assert playing.ended().status == 0
        heard = ears.listen_until(lambda heard: played[-64:] in heard, 5)
    assert without_silence(heard) == played


@pytest.mark.usefixtures("dom0")
def test_guest_that_stands_still_while_it_records_misses_that_time_alone(
    work: Guest, pulse: PulseServer
) -> None:
    spoken = noise(10)
    with pulse.microphone(spoken), work.start("record", "-", "--seconds=2.5") as recording:
        recording.listen_until(seconds_heard(1))
        recording.process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        recording.process.send_signal(signal.SIGCONT)
        assert recording.ended().status == 0
    assert len(recording.heard) == 2.5 * SECOND
    # The last lap of that time may be there: dom0 goes on until the event page is full.
    broken = gaps(recording.heard, spoken)
    assert len(broken) <= 2
    assert all(each.missing >= 0 for each in broken)
    assert 1.5 * RATE_HZ < sum(each.missing for each in broken) < 2.5 * RATE_HZ
