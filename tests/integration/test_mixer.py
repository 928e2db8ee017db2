"""dom0's mixer as the agent turns it: one connection for all guests, which nobody waits for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent_guest.pcm import Pcm
from tests.support.agents import PATIENT, Dom0, Ended, Guest
from tests.support.guest_pcm import with_open_pcm
from tests.support.local_machine import LocalMachine
from tests.support.pipewire_server import PipeWireServer, ServerProtocol
from tests.support.pulse_server import PulseServer, noise, sink_input
from tests.support.raw_frontend import eventually

CAP = 'version: 1\nrules:\n  - {guest: "*", playback: allow, max-volume: 50%}\n'


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[PulseServer]:
    """One that may end, and takes commands."""
    commands = f"module-cli-protocol-unix socket={tmp_path}/commands"
    with PulseServer(tmp_path / "pulse", modules=(commands,)) as pulse:
        yield pulse


@pytest.fixture
def dom0(tmp_path: Path, machine: LocalMachine, pulse: PulseServer) -> Iterator[Dom0]:
    with Dom0(tmp_path / "dom0", machine.url, pulse.address, options=[PATIENT]) as dom0:
        yield dom0
    assert "Traceback" not in dom0.log


def clients(pulse: PulseServer) -> list[str]:
    """The names of the server's clients, but for our own."""
    with pulse.mixer() as mixer:
        names = [each.proplist.get("application.name", "") for each in mixer.client_list()]
    return sorted(name for name in names if name in {"xensnd", "work", "personal"})


def is_at(now: Callable[[], Any], wanted: float) -> bool:
    return is_near(now().volume.value_flat, wanted)


def is_near(volume: float, wanted: float) -> bool:
    return abs(volume - wanted) < 0.01


def test_all_guests_share_one_more_client_which_goes_with_the_last_stream(
    dom0: Dom0, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    work, personal = new_guest("work"), new_guest("personal")
    assert clients(pulse) == []
    with (
        work.start("play", "-", stdin=[noise(3)]) as one,
        personal.start("play", "-", stdin=[noise(3)]) as other,
    ):
        assert eventually(lambda: clients(pulse) == ["personal", "work", "xensnd"])
        for guest in ("work", "personal"):
            assert dom0.ask("volume", guest=guest, percent=40)["changed"] == 1
        with sink_input(pulse, "work") as first, sink_input(pulse, "personal") as second:
            for now in (first, second):
                assert eventually(partial(is_at, now, 0.4))
        assert clients(pulse).count("xensnd") == 1
        assert one.ended() == other.ended() == Ended(0)
    assert eventually(lambda: clients(pulse) == []), clients(pulse)


def test_mixer_comes_back_when_the_server_has_ended_its_connection(
    dom0: Dom0, pulse: PulseServer, tmp_path: Path, work: Guest
) -> None:
    with work.start("play", "-", stdin=[noise(20)]), sink_input(pulse, "work") as now:
        assert eventually(lambda: "xensnd" in clients(pulse))
        with pulse.mixer() as mixer:
            (ours,) = (
                each.index
                for each in mixer.client_list()
                if each.proplist.get("application.name") == "xensnd"
            )
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{tmp_path}/commands")
                connection.sendall(f"kill-client {ours}\n".encode())
                assert eventually(lambda: ours not in [e.index for e in mixer.client_list()])
        dom0.ask("volume", guest="work", percent=30)
        assert eventually(lambda: is_near(now().volume.value_flat, 0.3))


def test_volume_and_mute_hold_after_the_audio_server_was_started_anew(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    with work.start("play", "-", stdin=[noise(60)]):
        with sink_input(pulse, "work") as now:
            dom0.ask("volume", guest="work", percent=70)
            dom0.ask("mute", guest="work")
            assert eventually(lambda: now().mute and is_near(now().volume.value_flat, 0.7))
        pulse.kill()
        dom0.await_event("server_lost", guest="work")
        pulse.start()
        dom0.await_event("server_found", guest="work")
        with sink_input(pulse, "work") as now:
            assert now().mute
            assert is_near(now().volume.value_flat, 0.7)
            dom0.ask("volume", guest="work", percent=20)
            assert eventually(lambda: is_near(now().volume.value_flat, 0.2))


def test_guest_that_turns_its_volume_without_end_waits_for_no_server_and_leaves_nothing_queued(
    dom0: Dom0, pulse: PulseServer, machine: LocalMachine, work: Guest
) -> None:
    """Of all that was ordered while the server hung, the last is done, and little besides."""
    times = 200
    changes: list[int] = []

    async def turn(pcm: Pcm) -> None:
        with sink_input(pulse, work.name) as now, pulse.mixer() as mixer:
            await pcm.set_volume([-1_000, -1_000])
            assert eventually(lambda: is_near(now().volume.value_flat, 10 ** (-1 / 60)))
            mixer.event_mask_set("sink_input")
            mixer.event_callback_set(lambda event: changes.append(event.index))
            pulse.freeze()
            try:
                for number in range(1, times + 1):
                    await pcm.set_volume([-number * 100, -number * 100])
                    assert await pcm.volume(2) == (-number * 100, -number * 100)
            finally:
                pulse.thaw()
            last = 10 ** (-times / 600)
            assert await asyncio.to_thread(
                eventually, lambda: is_near(now().volume.value_flat, last)
            )
            mixer.event_listen(timeout=0.5)

    with_open_pcm(machine, work.name, turn)
    assert len(changes) < times / 10
    assert dom0.events("server_lost") == []


@pytest.mark.parametrize("protocol", ServerProtocol, ids=lambda protocol: protocol.value)
def test_volume_mute_and_cap_hold_with_pipewire(
    tmp_path: Path, machine: LocalMachine, work: Guest, protocol: ServerProtocol
) -> None:
    with (
        PipeWireServer(tmp_path / "pipewire") as pipewire,
        pipewire.mixer() as mixer,
        Dom0(
            tmp_path / "dom0",
            machine.url,
            pipewire.address_for(protocol),
            policy=CAP,
            prefix=pipewire.agent_prefix,
        ) as dom0,
    ):
        mixer.module_load("module-null-sink", "sink_name=speakers rate=48000 channels=2")
        with (
            work.start("play", "-", "--volume=0", stdin=[noise(30)]),
            sink_input(pipewire, "work") as now,
        ):
            assert eventually(lambda: is_at(now, 0.5))
            mixer.volume_set_all_chans(now(), 1.0)
            assert eventually(lambda: is_at(now, 0.5))
            dom0.ask("volume", guest="work", percent=30)
            assert eventually(lambda: is_at(now, 0.3))
            dom0.ask("mute", guest="work")
            assert eventually(lambda: now().mute)
            mixer.mute(now(), False)
            assert eventually(lambda: not dom0.stream("work")["is_muted"])
            assert dom0.stream("work")["device"] == "speakers"
        assert "Traceback" not in dom0.log
