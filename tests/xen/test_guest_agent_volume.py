"""Volume and mute by the protocol's own operations, between a domU and its sink input in dom0."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.xen.dom0 import Agent, Pulse
from tests.xen.lab import Lab, XenGuest, wait_until
from tests.xen.peer import Peer

FULL = 65536  # PulseAudio's volumes are cubic: -6 dB is 10 ** (-6 / 60) of it


@pytest.fixture(scope="module")
def quiet(lab: Lab, agent: Agent) -> Iterator[XenGuest]:  # noqa: ARG001  (it makes the device)
    with lab.guest("quiet") as guest:
        yield guest


@pytest.fixture
def pcm(quiet: XenGuest) -> Iterator[Peer]:
    """An open playback of that guest."""
    with Peer(quiet, "tests.xen.pcm_inside") as pcm:
        assert pcm.do("volume", 2) == [0, 0]
        yield pcm


def sink_input(pulse: Pulse) -> Any:
    inputs = json.loads(pulse.pactl("--format=json", "list", "sink-inputs"))
    return next((i for i in inputs if i["properties"]["application.name"] == "quiet"), None)


def shows(pulse: Pulse, *, db: tuple[float | None, float | None], mute: bool) -> Callable[[], bool]:
    """Whether dom0's mixer shows that; None: nothing of that channel is heard."""

    def shown() -> bool:
        found = sink_input(pulse)
        volumes = [channel["value"] / FULL for channel in found["volume"].values()]
        wanted = [0 if each is None else 10 ** (each / 60) for each in db]
        near = all(abs(a - b) < 0.001 for a, b in zip(volumes, wanted, strict=True))
        return near and found["mute"] is mute

    return shown


def await_mixer(pulse: Pulse, *, db: tuple[float | None, float | None], mute: bool = False) -> None:
    wait_until(shows(pulse, db=db, mute=mute), 10, lambda: f"no {db}, {mute}: {sink_input(pulse)}")


def test_volume_and_mute_of_the_guest_are_those_of_its_sink_input(pulse: Pulse, pcm: Peer) -> None:
    await_mixer(pulse, db=(0, 0))
    pcm.do("set_volume", [-6000, -12000])
    await_mixer(pulse, db=(-6, -12))
    pcm.do("mute", [True, True])
    await_mixer(pulse, db=(-6, -12), mute=True)
    assert pcm.do("volume", 2) == [-6000, -12000]
    pcm.do("unmute", [True, True])
    await_mixer(pulse, db=(-6, -12))


def test_one_channel_is_muted_alone(pulse: Pulse, pcm: Peer) -> None:
    pcm.do("mute", [True, False])
    await_mixer(pulse, db=(None, 0))
    pcm.do("unmute", [True, False])
    await_mixer(pulse, db=(0, 0))


def test_guest_is_told_what_a_person_set_in_the_mixer(pulse: Pulse, pcm: Peer) -> None:
    await_mixer(pulse, db=(0, 0))
    pulse.pactl("set-sink-input-volume", str(sink_input(pulse)["index"]), "-20dB")

    def told() -> bool:
        return all(abs(each + 20_000) <= 5 for each in pcm.do("volume", 2))

    wait_until(told, 10, lambda: f"the guest is told {pcm.do('volume', 2)}")


def test_guest_cannot_be_louder_than_0_db(pulse: Pulse, pcm: Peer) -> None:
    pcm.do("set_volume", [6_000, 6_000])
    assert pcm.do("volume", 2) == [0, 0]
    await_mixer(pulse, db=(0, 0))
