"""What was heard of a sound is told to the frame: lost, heard again, silence, something else."""

from __future__ import annotations

import pytest

from tests.support.heard import (
    FRAME_OCTETS,
    RATE_HZ,
    Gap,
    gaps,
    gaps_of_whole,
    tone,
    tone_lasts,
    tone_seconds,
)
from tests.support.pulse_server import noise

SOUND = noise(0.5)


def frames(start: int, end: int) -> bytes:
    """Of the sound."""
    return SOUND[start * FRAME_OCTETS : end * FRAME_OCTETS]


def silence(count: int) -> bytes:
    return bytes(count * FRAME_OCTETS)


END = len(SOUND) // FRAME_OCTETS


def test_silence_before_and_after_is_no_gap() -> None:
    assert gaps(silence(100) + SOUND + silence(100), SOUND) == []


def test_gap_of_one_channel_is_counted_in_its_own_frames() -> None:
    mono = noise(0.5, frame_octets=2)
    heard = mono[:2002] + bytes(202) + mono[2102:]
    assert gaps(heard, mono, frame_octets=2) == [Gap(at=1001, silent=101, missing=50)]


@pytest.mark.parametrize(
    ("heard", "gap"),
    [
        (frames(0, 5000) + frames(5001, END), Gap(5000, silent=0, missing=1)),
        (frames(0, 5000) + frames(4999, END), Gap(5000, silent=0, missing=-1)),
        (frames(0, 5000) + silence(1) + frames(5000, END), Gap(5000, silent=1, missing=0)),
        (frames(0, 5000) + silence(300) + frames(5100, END), Gap(5000, silent=300, missing=100)),
        (silence(10) + frames(40, 5000) + frames(6000, END), Gap(4970, silent=0, missing=1000)),
    ],
    ids=["lost", "heard again", "silence", "silence instead", "after its beginning"],
)
def test_one_frame_is_enough_for_a_gap(heard: bytes, gap: Gap) -> None:
    assert gaps(heard, SOUND) == [gap]


def test_parts_that_changed_places_are_seen() -> None:
    heard = frames(0, 1000) + frames(2000, 3000) + frames(1000, 2000) + frames(3000, END)
    assert [gap.missing for gap in gaps(heard, SOUND)] == [1000, -2000, 1000]


@pytest.mark.parametrize(
    "heard",
    [
        frames(0, 5000) + b"\1" * 8 + frames(5002, END),
        SOUND[:20000] + SOUND[20001:],
        SOUND[:20000] + b"\0" + SOUND[20000:],
        SOUND[:-1],
    ],
    ids=["other frames", "an octet lost", "an octet of silence", "a part of a frame at the end"],
)
def test_what_is_none_of_the_sound_is_refused(heard: bytes) -> None:
    with pytest.raises(AssertionError):
        gaps(heard, SOUND)


@pytest.mark.parametrize(
    "heard",
    [
        b"",
        silence(END),
        frames(1, END),
        frames(0, END - 1),
        frames(0, 5000) + frames(5001, END),
        frames(0, 6000) + frames(5000, END),
    ],
    ids=["nothing", "silence", "no beginning", "no end", "a frame lost", "too much again"],
)
def test_what_was_not_heard_whole_is_refused(heard: bytes) -> None:
    with pytest.raises(AssertionError):
        gaps_of_whole(heard, SOUND, queued_msec=10)


def test_what_was_queued_may_be_heard_again() -> None:
    queued = 10 * RATE_HZ // 1000
    heard = frames(0, 5000) + frames(5000 - queued, END)
    assert gaps_of_whole(heard, SOUND, queued_msec=10) == [Gap(5000, silent=0, missing=-queued)]


def test_a_tone_that_comes_bit_by_bit_is_as_long_as_at_once() -> None:
    heard = b"\0" * 4000 + tone(0.5)[4:] + b"\0" * 480 + tone(0.3)
    lasts, is_longer = tone_lasts(0.4, after=4), tone_lasts(0.6, after=4)
    found = [lasts(heard[:octets]) for octets in range(0, len(heard), 997)]
    assert [tone_seconds(heard[4:octets]) > 0.4 for octets in range(0, len(heard), 997)] == found
    assert found[-1]
    assert not is_longer(heard)
