"""Two guests at once: each is its own in dom0's mixer, and what happens to one leaves the other.

One plays on the left and the other on the right, so that both are known in what a sink mixes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import Ended, Guest, Running
from tests.support.pulse_server import (
    Ears,
    PulseServer,
    difference,
    left_of,
    noise,
    on_left,
    on_right,
    right_of,
    write_wav,
)
from tests.support.raw_frontend import eventually

pytestmark = pytest.mark.usefixtures("dom0")

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
PLAYED = Ended(0)
LEFT = noise(0.8, frame_octets=2, seed=1)
RIGHT = noise(1.2, frame_octets=2, seed=2)


@pytest.fixture
def left(new_guest: Callable[[str], Guest]) -> Guest:
    return new_guest("left")


@pytest.fixture
def right(new_guest: Callable[[str], Guest]) -> Guest:
    return new_guest("right")


@contextmanager
def both_playing(left: Guest, right: Guest, ears: Ears) -> Iterator[tuple[Running, Running]]:
    with (
        tempfile.TemporaryDirectory() as directory,
        right.start(
            "play", str(write_wav(Path(directory) / "right.wav", on_right(RIGHT)))
        ) as rights,
        left.start("play", str(write_wav(Path(directory) / "left.wav", on_left(LEFT)))) as lefts,
    ):
        ears.listen_until(
            lambda heard: left_of(heard).strip(b"\0") and right_of(heard).strip(b"\0")
        )
        yield lefts, rights


def sink_input(mixer: Any, guest: Guest) -> Any:
    (found,) = [
        each for each in mixer.sink_input_list() if each.proplist["application.name"] == guest.name
    ]
    return found


def test_two_guests_are_mixed_each_octet_for_octet(
    pulse: PulseServer, left: Guest, right: Guest
) -> None:
    with pulse.listening() as ears, both_playing(left, right, ears) as (lefts, rights):
        assert lefts.ended() == rights.ended() == PLAYED
        heard = ears.listen_until(lambda heard: LEFT in left_of(heard) and RIGHT in right_of(heard))
    assert LEFT in left_of(heard), difference(LEFT, left_of(heard))
    assert RIGHT in right_of(heard), difference(RIGHT, right_of(heard))


def test_each_guest_is_a_client_and_a_sink_input_of_its_own(
    pulse: PulseServer, left: Guest, right: Guest
) -> None:
    with pulse.listening() as ears, both_playing(left, right, ears), pulse.mixer() as mixer:
        inputs = [sink_input(mixer, guest) for guest in (left, right)]
        clients = {each.index: each.proplist for each in mixer.client_list()}
    assert [each.name for each in inputs] == ["left playback", "right playback"]
    for guest, each in zip((left, right), inputs, strict=True):
        assert clients[each.client]["application.name"] == guest.name
        expected = {
            "application.name": guest.name,
            "application.id": f"xensnd.{guest.name}",
            "application.icon_name": "computer",
            "module-stream-restore.id": f"xensnd-playback:{guest.name}",
            "xensnd.guest": guest.name,
            "xensnd.domid": str(guest.domid),
        }
        assert expected.items() <= each.proplist.items()


def test_each_guest_that_records_is_a_source_output_of_its_own(
    pulse: PulseServer, left: Guest, right: Guest
) -> None:
    def outputs() -> dict[str, Any]:
        with pulse.mixer() as mixer:
            return {
                each.proplist["application.name"]: each
                for each in mixer.source_output_list()
                if "xensnd.guest" in each.proplist
            }

    with (
        left.start("record", "-", "--seconds=20"),
        right.start("record", "-", "--seconds=20"),
    ):
        assert eventually(lambda: outputs().keys() == {"left", "right"})
        for name, output in outputs().items():
            assert output.name == f"{name} capture"
            expected = {
                "module-stream-restore.id": f"xensnd-capture:{name}",
            }
            assert expected.items() <= output.proplist.items()


def test_muting_one_guest_leaves_the_other(pulse: PulseServer, left: Guest, right: Guest) -> None:
    with pulse.listening() as ears, both_playing(left, right, ears) as (lefts, rights):
        with pulse.mixer() as mixer:
            mixer.mute(sink_input(mixer, left))
        assert lefts.ended() == rights.ended() == PLAYED
        heard = ears.listen_until(lambda heard: RIGHT in right_of(heard))
    assert RIGHT in right_of(heard), difference(RIGHT, right_of(heard))
    sound = left_of(heard).strip(b"\0")
    assert 0 < len(sound) < len(LEFT)
    assert LEFT.startswith(sound), difference(LEFT, sound)


def test_moving_one_guest_to_another_sink_leaves_the_other(
    pulse: PulseServer, left: Guest, right: Guest
) -> None:
    with (
        pulse.sink("headset"),
        pulse.listening(device="headset.monitor") as headset,
        pulse.listening() as ears,
        both_playing(left, right, ears) as (lefts, rights),
    ):
        with pulse.mixer() as mixer:
            (target,) = [each for each in mixer.sink_list() if each.name == "headset"]
            mixer.sink_input_move(sink_input(mixer, left).index, target.index)
        assert lefts.ended() == rights.ended() == PLAYED
        heard = ears.listen_until(lambda heard: RIGHT in right_of(heard))
        moved = left_of(headset.listen_until(lambda heard: LEFT[-9600:] in left_of(heard)))
    assert RIGHT in right_of(heard), difference(RIGHT, right_of(heard))
    before, after = left_of(heard).strip(b"\0"), moved.strip(b"\0")
    assert LEFT.startswith(before), difference(LEFT, before)
    assert LEFT.endswith(after), difference(after, LEFT)
    assert len(before) + len(after) > len(LEFT) / 2
    assert not right_of(headset.heard).strip(b"\0")
