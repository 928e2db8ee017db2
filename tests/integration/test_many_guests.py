"""More guests on one audio server than it accepts connections: all play, and the person's own
programs have room."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pulsectl
import pytest

from agent_dom0.audio.connections import OWN_MAX, SHARED_MAX
from agent_dom0.audio.crowded_sinks import MIXED_MAX, NEARLY
from agent_dom0.audio.places import NEARLY_ALL, NO_PLACE, PLACES
from tests.support.agents import ALLOW_PLAYBACK, Dom0, Guest, driver_of
from tests.support.applications import playing
from tests.support.large_card import MANY_STREAMS, offer_large_card
from tests.support.local_machine import LocalMachine
from tests.support.many_guests import RATE_HZ, SteadyGuest, heard, many_guests, play_all
from tests.support.pipewire_server import PipeWireServer
from tests.support.pulse_server import SINK, PulseServer, noise, sink_input
from tests.support.raw_frontend import RawFrontend, eventually
from xensnd.sndif.packets import Status
from xensnd.sndif.states import XenbusState

# So many processes and cards take long to make where others compute too.
pytestmark = pytest.mark.timeout(180)
MANY = 200
MORE_THAN_CONNECTIONS = 70
SINKS = 10  # PulseAudio mixes 32 streams into one sink, and drops what the others play
QUEUED = "--latency=250"
# Each guest plays into the sink of its last digit.
SPREAD = "version: 1\nrules:\n" + "".join(
    f"  - {{guest: '*{digit}', playback: allow, device: sink-{digit}}}\n" for digit in range(SINKS)
)
SERVER_CONNECTIONS = 64
UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "xensnd-dom0.service"
FOR_DEFAULTS = 64  # so many guests the unit's limits are for


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[LocalMachine]:
    with LocalMachine(tmp_path / "xen") as machine:
        yield machine


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[PulseServer]:
    modules = (
        *(
            f"module-null-sink sink_name=sink-{digit} norewinds=1 rate={RATE_HZ} channels=1"
            for digit in range(SINKS)
        ),
        "module-stream-restore restore_device=no",
        f"module-cli-protocol-unix socket={tmp_path}/commands",
    )
    with PulseServer(tmp_path / "pulse", modules=modules) as pulse:
        yield pulse


def new_dom0(
    directory: Path, machine: LocalMachine, server: str, policy: str, prefix: Sequence[str] = ()
) -> Dom0:
    return Dom0(
        directory / "dom0", machine.url, server, policy=policy, options=[QUEUED], prefix=prefix
    )


@pytest.fixture
def dom0(tmp_path: Path, machine: LocalMachine, pulse: PulseServer) -> Iterator[Dom0]:
    with new_dom0(tmp_path, machine, pulse.address, SPREAD) as dom0:
        yield dom0
    assert "Traceback" not in dom0.log


def inputs(pulse: Any) -> dict[str, Any]:
    """The server's sink inputs, by the name that their streams have."""
    with pulse.mixer() as mixer:
        return {each.proplist["application.name"]: each for each in mixer.sink_input_list()}


def plays(dom0: Dom0) -> int:
    return sum(guest["plays"] for guest in dom0.ask("status")["guests"])


def assert_all_are_heard(pulse: PulseServer, guests: list[SteadyGuest]) -> None:
    with ExitStack() as stack:
        for digit in range(SINKS):
            wanted = sum(guest.name.endswith(str(digit)) for guest in guests)
            ears = stack.enter_context(pulse.listening(device=f"sink-{digit}.monitor"))
            assert heard(ears.listen_until(partial(are_heard, wanted))) == wanted


def are_heard(wanted: int, samples: bytes) -> bool:
    return heard(samples) == wanted


def test_200_guests_play_each_with_its_name_and_volume_and_again_after_a_restart(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer
) -> None:
    with many_guests(machine, dom0, MANY) as guests:
        play_all(guests)
        assert eventually(lambda: plays(dom0) == MANY)
        assert_all_are_heard(pulse, guests)
        assert dom0.events("server_lost") == []
        assert len(dom0.events("stream_started")) == MANY
        shown = dom0.ask("status")["server"]
        assert shown["connections"] == shown["connections_max"] == OWN_MAX + SHARED_MAX
        assert shown["playback_streams"] == MANY
        assert f"guests have {NEARLY_ALL} of the {PLACES} playback streams" in dom0.log

        last, neighbour = guests[-1], guests[-2]
        properties = inputs(pulse)[last.name].proplist
        assert properties["application.icon_name"] == "computer"
        assert properties["module-stream-restore.id"] == f"xensnd-playback:{last.name}"
        with pulse.mixer() as mixer:
            mixer.volume_set_all_chans(inputs(pulse)[last.name], 0.4)
        last.close()
        assert eventually(lambda: last.name not in inputs(pulse))
        last.play()
        assert eventually(lambda: last.name in inputs(pulse))
        assert abs(inputs(pulse)[last.name].volume.value_flat - 0.4) < 0.01
        dom0.ask("mute", guest=neighbour.name)
        assert eventually(lambda: [name for name, each in inputs(pulse).items() if each.mute])
        now = inputs(pulse)
        assert [name for name, each in now.items() if each.mute] == [neighbour.name]
        assert [name for name in now if now[name].volume.value_flat < 0.99] == [last.name]

        pulse.kill()
        pulse.start()
        assert eventually(lambda: plays(dom0) == MANY)
        assert inputs(pulse).keys() == {guest.name for guest in guests}
        assert inputs(pulse)[neighbour.name].mute


def limit_of_unit(name: str) -> int:
    (value,) = re.findall(rf"^{name}=(\d+)M?$", UNIT.read_text(), re.M)
    return int(value)


def memory_mib(dom0: Dom0) -> float:
    """What the service takes: each page once, or this process's share of it."""
    pids = (dom0.pid, dom0.agent_pid, dom0.opener_pid)
    maps = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return (
        sum(int(kib) for each in maps for kib in re.findall(r"^Pss: +(\d+) kB", each, re.M)) / 1024
    )


def test_64_guests_of_the_default_card_play_within_the_limits_of_the_unit(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer
) -> None:
    descriptors = limit_of_unit("LimitNOFILE")
    prefix = ["prlimit", f"--nofile={descriptors}:{descriptors}"]
    with (
        new_dom0(tmp_path, machine, pulse.address, SPREAD, prefix) as dom0,
        many_guests(machine, dom0, FOR_DEFAULTS) as guests,
    ):
        play_all(guests)
        assert eventually(lambda: plays(dom0) == FOR_DEFAULTS)
        assert dom0.events("device_failed") == dom0.events("limit_hit") == []
        used = memory_mib(dom0)
        print(f"{FOR_DEFAULTS} guests: {used:.1f} MiB")
        assert used < limit_of_unit("MemoryMax")


def test_more_guests_than_connections_play_with_pipewire(
    tmp_path: Path, machine: LocalMachine
) -> None:
    with (
        PipeWireServer(tmp_path / "pipewire") as pipewire,
        new_dom0(tmp_path, machine, pipewire.address, ALLOW_PLAYBACK) as dom0,
    ):
        with pipewire.mixer() as mixer:
            mixer.module_load("module-null-sink", f"sink_name=speakers rate={RATE_HZ} channels=1")
        with many_guests(machine, dom0, MORE_THAN_CONNECTIONS) as guests:
            play_all(guests)
            assert eventually(lambda: plays(dom0) == MORE_THAN_CONNECTIONS, 20)
            assert inputs(pipewire).keys() == {guest.name for guest in guests}
            dom0.ask("volume", guest=guests[-1].name, percent=30)
            assert eventually(
                lambda: abs(inputs(pipewire)[guests[-1].name].volume.value_flat - 0.3) < 0.01
            )
            assert dom0.events("server_lost") == []
        assert "Traceback" not in dom0.log


def test_status_tells_of_a_sink_with_more_streams_than_the_server_mixes(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer
) -> None:
    with new_dom0(tmp_path, machine, pulse.address, ALLOW_PLAYBACK) as dom0:

        def told(streams: int) -> bool:
            crowded = [{"name": SINK, "streams": streams, "mixed_max": MIXED_MAX}]
            return bool(dom0.ask("status")["server"]["crowded_sinks"] == crowded)

        with many_guests(machine, dom0, MIXED_MAX) as guests:
            play_all(guests)
            assert eventually(lambda: told(MIXED_MAX))
            with playing(pulse, noise(5), f"--device={SINK}"):
                assert eventually(lambda: told(MIXED_MAX + 1))
            assert eventually(lambda: told(MIXED_MAX))
            for guest in guests[NEARLY - 1 :]:
                guest.close()
            assert eventually(lambda: dom0.ask("status")["server"]["crowded_sinks"] == [])
        assert "Traceback" not in dom0.log


def test_client_that_a_person_kills_takes_only_its_guests_along(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer, tmp_path: Path
) -> None:
    count = OWN_MAX + SHARED_MAX + 1  # two share the first shared connection
    with many_guests(machine, dom0, count) as guests:
        play_all(guests)
        assert eventually(lambda: plays(dom0) == count)
        before = inputs(pulse)
        clients = [each.client for each in before.values()]
        (shared,) = {client for client in clients if clients.count(client) > 1}
        on_it = {name for name, each in before.items() if each.client == shared}
        assert on_it == {guests[OWN_MAX].name, guests[-1].name}
        with socket.socket(socket.AF_UNIX) as commands:
            commands.connect(f"{tmp_path}/commands")
            commands.sendall(f"kill-client {shared}\n".encode())
            assert eventually(lambda: len(dom0.events("server_found")) == len(on_it))
        after = inputs(pulse)
        assert after.keys() == before.keys()
        assert {n for n in before if after[n].index != before[n].index} == on_it
        assert {event["XENSND_GUEST"] for event in dom0.events("server_lost")} == on_it


def test_guest_that_the_server_refuses_has_not_started_and_is_told_why(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer
) -> None:
    with many_guests(machine, dom0, 1) as (guest,), ExitStack() as others:
        for number in range(SERVER_CONNECTIONS):
            others.enter_context(pulsectl.Pulse(f"other {number}", server=pulse.address))
        guest.play()
        lost = dom0.await_event("server_lost", guest=guest.name)
        assert lost["MESSAGE"] == (
            f"{guest.name}: audio server {pulse.address}: closes a new connection at once, as it "
            "does when it has 64 of them; sound continues when it is back"
        )
        stream = dom0.stream(guest.name)
        assert (stream["state"], stream["is_heard"]) == ("running", False)
        assert "64 of them" in stream["problem"]
        assert dom0.events("stream_started") == []
        others.close()
        dom0.await_event("stream_started", guest=guest.name)
        assert dom0.stream(guest.name)["problem"] is None


def open_large_card(frontend: RawFrontend) -> None:
    for stream in frontend.streams:
        assert stream.ask(stream.good_open(4096)) == Status.OK


def test_guests_leave_streams_to_the_person_and_to_each_other(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer
) -> None:
    """Four guests want 64 streams each, and a fifth one."""
    greedy = [Guest(machine, f"greedy-{number}") for number in range(4)]
    modest = Guest(machine, "modest")
    with new_dom0(tmp_path, machine, pulse.address, MANY_STREAMS) as dom0, ExitStack() as stack:
        drivers = [stack.enter_context(driver_of(machine, dom0, guest)) for guest in greedy]
        for driver in drivers:
            stack.callback(driver.forget_streams)
            offer_large_card(driver, 64)
            driver.await_backend(XenbusState.CONNECTED)
            driver.enter(XenbusState.CONNECTED)
            open_large_card(driver)
        # One place is kept for the guest that has none.
        assert eventually(lambda: len(stream_names(pulse)) == PLACES - 1)
        assert any(NO_PLACE in event["MESSAGE"] for event in dom0.events("limit_hit"))
        waiting = [each for each in streams(dom0) if each["problem"] == NO_PLACE]
        assert len(waiting) == 4 * 64 - (PLACES - 1)
        with modest.start("play", "-", stdin=[noise(20)]), sink_input(pulse, "modest"):
            assert len(stream_names(pulse)) == PLACES
            with playing(pulse, noise(20), "--stream-name=person"):
                assert eventually(lambda: "person" in stream_names(pulse))
            drivers[0].enter(XenbusState.CLOSING)
            assert eventually(lambda: not any(each["problem"] for each in streams(dom0)))
            assert eventually(lambda: stream_names(pulse).count("greedy-3 playback") == 64)
        assert "Traceback" not in dom0.log


def stream_names(pulse: PulseServer) -> list[str]:
    with pulse.mixer() as mixer:
        return [each.name for each in mixer.sink_input_list()]


def streams(dom0: Dom0) -> list[Any]:
    return [
        stream
        for guest in dom0.ask("status")["guests"]
        for card in guest["devices"]
        for stream in card["streams"]
    ]
