"""A guest whose PulseAudio or PipeWire plays on the stock driver's card, as a desktop's does.

PulseAudio fills the card's buffer far ahead, and rewinds to just behind the position that it knows
when a sound begins, is paused, or changes. PipeWire writes no further ahead than it must.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import pairwise

import pytest

from tests.support.heard import FRAME_OCTETS, RATE_HZ, Stretch, gaps, seconds_heard, stretches
from tests.support.pulse_server import left_of, noise, on_left, on_right, right_of
from tests.xen.card_servers import (
    CardServer,
    pipewire_on_card,
    pulseaudio_on_card,
)
from tests.xen.dom0 import ALLOW_BOTH, QUEUED_MSEC, Agent, Pulse
from tests.xen.guest import SECOND
from tests.xen.lab import XenGuest
from tests.xen.peer import Peer
from tests.xen.remote import Machine, Process
from tests.xen.test_takeover import kill_worker

pytestmark = pytest.mark.quiet

POLICY = ALLOW_BOTH  # PipeWire looks at the microphone, too
SERVERS: dict[str, Callable[[XenGuest], AbstractContextManager[CardServer]]] = {
    "pulseaudio": partial(pulseaudio_on_card, timer=False),
    "pulseaudio-tsched": partial(pulseaudio_on_card, timer=True),
    "pipewire": pipewire_on_card,
}
# A sound that begins in silence is whole. One that is written over another sound begins as soon as
# it can, and does not interrupt that one. A rewind takes an emulated guest some time, on a busy
# machine a lot of it. What was heard in the meantime is lost, and what dom0's sink renders at once,
# 50 ms. If rewinds were not honoured, all that dom0 has queued would be lost: twice as much.
LATE_FRAMES = QUEUED_MSEC // 2 * RATE_HZ // 1000
CARD_BUFFER_FRAMES = 32768


@pytest.fixture(scope="module", params=SERVERS)
def desk(request: pytest.FixtureRequest, guest: XenGuest) -> Iterator[CardServer]:
    with SERVERS[request.param](guest) as server:
        server.pactl("set-sink-volume", "@DEFAULT_SINK@", "100%")
        yield server


@pytest.fixture
def player(desk: CardServer) -> Iterator[Peer]:
    with desk.player() as player:
        yield player


@pytest.fixture
def ears(pulse: Pulse) -> Iterator[Process]:
    with pulse.listening() as ears:
        yield ears


def file(desk: CardServer, sound: bytes, name: str = "sound") -> str:
    path = f"/tmp/{name}"
    desk.guest.write_file(path, sound)
    return path


def heard_until(ears: Process, end: bytes) -> bytes:
    """All that was heard, once these octets were, or had had the time to be."""
    return ears.listen_until(lambda heard: end in heard[-4 * SECOND :])


def whole(found: list[Stretch], frames: int) -> list[Stretch]:
    """The sound was heard to its end, and from its beginning but for what was late. Returns what
    was not late: PulseAudio may rewind twice for one sound, and either may be late."""
    in_time = [each for each in found if each.end > LATE_FRAMES]
    assert in_time, f"heard was {found}"
    print(f"{in_time[0].start} frames late")
    assert in_time[0].start <= LATE_FRAMES
    assert in_time[-1].end == frames
    return in_time


def test_sounds_one_after_another_are_whole(desk: CardServer, ears: Process, player: Peer) -> None:
    # Longer than the card's buffer: PulseAudio may take shorter ones for drained too early.
    sounds = [noise(1, seed=seed) for seed in range(1, 5)]
    for number, sound in enumerate(sounds):
        player.do("play", file(desk, sound))
        player.do("drain", number)
    heard = heard_until(ears, sounds[-1][-64:])
    frames = len(sounds[0]) // FRAME_OCTETS
    found = stretches(heard, b"".join(sounds))
    first_frames = [frames * n for n in range(len(sounds))]
    assert [each.start for each in found if each.start % frames == 0] == first_frames
    assert found[-1].end == frames * len(sounds)
    # Emulated, the guest may wait between two WRITEs of a sound for longer than the first lasts.
    lost = [after.start - before.end for before, after in pairwise(found)]
    print(f"frames lost within a sound: {sum(lost)}")
    assert all(0 <= each <= LATE_FRAMES for each in lost)


def test_sounds_that_overlap_are_whole(desk: CardServer, ears: Process, player: Peer) -> None:
    # The longer one lasts until the other is drained: PipeWire holds a last piece back until then.
    long, short = noise(4, frame_octets=2, seed=11), noise(1, frame_octets=2, seed=12)
    paths = file(desk, on_left(long), "long"), file(desk, on_right(short), "short")
    player.do("play", paths[0])
    ears.listen_until(seconds_heard(0.3))
    player.do("play", paths[1])
    player.do("drain", 1)
    player.do("drain", 0)
    heard = ears.listen_until(lambda heard: long[-64:] in left_of(heard[-4 * SECOND :]))
    assert len(whole(stretches(left_of(heard), long, 2), len(long) // 2)) == 1
    assert len(whole(stretches(right_of(heard), short, 2), len(short) // 2)) == 1


def test_sound_that_is_paused_goes_on_where_it_was(
    desk: CardServer, ears: Process, player: Peer
) -> None:
    sound = noise(2, seed=21)
    player.do("play", file(desk, sound))
    ears.listen_until(seconds_heard(0.5))
    player.do("pause", 0)
    ears.listen_until(lambda heard: heard.endswith(bytes(SECOND // 2)))
    player.do("resume", 0)
    player.do("drain", 0)
    heard = heard_until(ears, sound[-64:])
    whole(stretches(heard, sound), len(sound) // FRAME_OCTETS)
    (pause,) = gaps(heard, sound)
    assert pause.silent >= RATE_HZ // 2
    # That it is paused is known as late as that it goes on.
    assert -LATE_FRAMES <= pause.missing <= LATE_FRAMES


def test_sound_that_is_sought_in_is_whole_from_there(
    desk: CardServer, ears: Process, player: Peer
) -> None:
    left, sought = noise(4, seed=31), noise(1, seed=32)
    paths = file(desk, left, "left"), file(desk, sought, "sought")
    player.do("play", paths[0])
    ears.listen_until(seconds_heard(0.5))
    player.do("seek", 0, paths[1])
    known_frames = len(ears.heard) // FRAME_OCTETS
    player.do("drain", 0)
    found = stretches(heard_until(ears, sought[-64:]), left + sought)
    frames = len(left) // FRAME_OCTETS
    before = [each for each in found if each.start < frames]
    after = [each for each in found if each.start >= frames]
    assert len(before) == len(after) == 1
    heard_to = before[0].at + before[0].end
    # What is in the card's buffer already stays there.
    assert heard_to <= known_frames + CARD_BUFFER_FRAMES + LATE_FRAMES
    whole(
        [Stretch(each.at, each.start - frames, each.end - frames) for each in after],
        len(sought) // FRAME_OCTETS,
    )


def test_volume_changes_what_is_not_heard_yet_and_breaks_nothing(
    desk: CardServer, ears: Process, player: Peer
) -> None:
    """That of one channel, so that the other one can be compared."""
    sound = noise(3, seed=41)
    number = player.do("play", file(desk, sound))
    ears.listen_until(seconds_heard(0.5))
    desk.pactl("set-sink-input-volume", str(number), "65536", "0")
    known_frames = len(ears.heard) // FRAME_OCTETS
    player.do("drain", 0)
    left = left_of(sound)
    heard = ears.listen_until(lambda heard: left[-64:] in left_of(heard[-4 * SECOND :]))
    assert len(whole(stretches(left_of(heard), left, 2), len(left) // 2)) == 1
    (loud,) = stretches(right_of(heard), right_of(sound), 2)
    assert loud.at + loud.end <= known_frames + desk.ahead_frames + LATE_FRAMES


def test_killed_agent_loses_no_frame(
    dom0: Machine, agent: Agent, desk: CardServer, ears: Process, player: Peer
) -> None:
    sound = noise(4, seed=51)
    player.do("play", file(desk, sound))
    ears.listen_until(seconds_heard(1))
    kill_worker(dom0, agent)
    player.do("drain", 0)
    heard = heard_until(ears, sound[-64:])
    whole(stretches(heard, sound), len(sound) // FRAME_OCTETS)
    missing = [each.missing for each in gaps(heard, sound)]
    assert all(each >= -QUEUED_MSEC * RATE_HZ // 1000 for each in missing)
    assert not {each for each in missing if each > 0}


def test_sound_goes_on_when_dom0s_audio_server_is_back(
    pulse: Pulse, desk: CardServer, player: Peer
) -> None:
    sound = noise(10, seed=61)
    player.do("play", file(desk, sound))
    with pulse.listening() as ears:
        ears.listen_until(seconds_heard(0.5))
        pulse.signal(signal.SIGKILL)
    pulse.stop()
    pulse.start()
    with pulse.listening() as ears:
        player.do("drain", 0)
        heard = heard_until(ears, sound[-64:])
    assert stretches(heard, sound)[-1].end == len(sound) // FRAME_OCTETS
    assert {each.missing for each in gaps(heard, sound)} <= {0}
