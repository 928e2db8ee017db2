"""Volume and mute by the protocol's own operations, mirrored on the guest's sink input."""

from __future__ import annotations

import asyncio

import pytest

from agent_guest.pcm import Pcm
from tests.support.agents import Guest
from tests.support.guest_pcm import with_open_pcm
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise, sink_input
from tests.support.raw_frontend import eventually
from xensnd.errors import RemoteProtocolError


@pytest.mark.usefixtures("dom0")
def test_play_with_a_volume_is_a_sink_input_of_that_volume(work: Guest, pulse: PulseServer) -> None:
    with work.start("play", "-", "--volume=-6", stdin=[noise(3)]) as playing:
        with sink_input(pulse, "work") as now:
            # PulseAudio's volumes are cubic: -6 dB is 10 ** (-6 / 60) of the slider.
            assert eventually(lambda: abs(now().volume.value_flat - 10 ** (-6 / 60)) < 0.001)
        assert playing.ended().status == 0


@pytest.mark.usefixtures("dom0")
def test_mute_is_not_volume_0_and_unmute_brings_the_volume_back(
    work: Guest, machine: LocalMachine, pulse: PulseServer
) -> None:
    async def mute_and_unmute(pcm: Pcm) -> None:
        with sink_input(pulse, work.name) as now:
            await pcm.set_volume([-10_000, -10_000])
            await pcm.mute([True, True])
            assert eventually(lambda: now().mute == 1)
            assert now().volume.value_flat > 0.5
            assert await pcm.volume(2) == (-10_000, -10_000)
            await pcm.unmute([True, True])
            assert eventually(lambda: now().mute == 0)

    with_open_pcm(machine, work.name, mute_and_unmute)


@pytest.mark.usefixtures("dom0")
def test_one_channel_is_muted_alone(work: Guest, machine: LocalMachine, pulse: PulseServer) -> None:
    async def mute_the_left(pcm: Pcm) -> None:
        with sink_input(pulse, work.name) as now:
            await pcm.mute([True, False])
            assert eventually(lambda: list(now().volume.values) == [0.0, 1.0])
            assert now().mute == 0
            await pcm.unmute([True, False])
            assert eventually(lambda: list(now().volume.values) == [1.0, 1.0])

    with_open_pcm(machine, work.name, mute_the_left)


@pytest.mark.usefixtures("dom0")
def test_a_guest_is_told_what_a_person_set_in_the_mixer(
    work: Guest, machine: LocalMachine, pulse: PulseServer
) -> None:
    async def ask(pcm: Pcm) -> None:
        with sink_input(pulse, work.name) as now, pulse.mixer() as mixer:
            mixer.volume_set_all_chans(now(), 10 ** (-20 / 60))
            for _ in range(500):
                left, right = await pcm.volume(2)
                if left == right and abs(left + 20_000) <= 5:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(f"the guest is told {left}, {right}")

    with_open_pcm(machine, work.name, ask)


@pytest.mark.usefixtures("dom0")
def test_a_guest_cannot_be_louder_than_0_db(
    work: Guest, machine: LocalMachine, pulse: PulseServer
) -> None:
    async def shout(pcm: Pcm) -> None:
        with sink_input(pulse, work.name) as now:
            await pcm.set_volume([6_000, 6_000])
            assert await pcm.volume(2) == (0, 0)
            assert now().volume.value_flat <= 1.0

    with_open_pcm(machine, work.name, shout)


@pytest.mark.usefixtures("dom0")
def test_values_beyond_the_buffer_are_refused(
    work: Guest, machine: LocalMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reach_beyond(pcm: Pcm) -> None:
        monkeypatch.setattr(pcm, "_put", lambda _values: (1 << 31, 8))
        with pytest.raises(RemoteProtocolError, match="EINVAL"):
            await pcm.set_volume([0, 0])

    with_open_pcm(machine, work.name, reach_beyond)
