"""Guests come and go, and so do the rules for them; the agent follows, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import (
    ALLOW_PLAYBACK,
    SECOND_OCTETS,
    Dom0,
    Ended,
    Guest,
    Running,
    assert_plays,
    driver_of,
    neighbour_of,
)
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, difference, left_of, noise, on_left, write_wav
from tests.support.raw_frontend import RawFrontend, eventually
from xensnd.localxen import toolstack
from xensnd.sndif.packets import Status
from xensnd.sndif.states import XenbusState
from xensnd.transport.interface import Store

PLAYED = Ended(0)
NO_CARD = (
    "xensnd-guest: this guest has no sound card; in dom0, check that xensnd-dom0 runs and that "
    "its policy allows this guest to play or record: xensnd-policy explain GUEST\n"
)
NEIGHBOUR_ALONE = "version: 1\nrules:\n- guest: neighbour\n  playback: allow\n"


@pytest.fixture
def dom0(own_dom0: Dom0) -> Dom0:
    """One for each test, that is not started yet."""
    return own_dom0


@pytest.fixture(scope="module", autouse=True)
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A guest that plays on a machine without an agent in dom0, from before the first test on:
    it waits for some seconds."""
    with (
        LocalMachine(tmp_path_factory.mktemp("lonely")) as machine,
        Guest(machine, "work").start("play", "-", stdin=[noise(0.5)]) as playing,
    ):
        yield playing


def read(store: Store, path: str) -> str | None:
    try:
        return store.read(path)
    except KeyError:
        return None


def nodes_of(machine: LocalMachine, guest: Guest) -> list[str]:
    """What XenStore still has of the guest's sound."""
    with closing(machine.open_store()) as store:

        def listed(path: str) -> list[str]:
            try:
                return store.list(path)
            except KeyError:
                return []

        return [
            *listed(f"/local/domain/{guest.domid}/device/vsnd"),
            *listed(f"/local/domain/0/backend/vsnd/{guest.domid}"),
        ]


def clients(pulse: PulseServer) -> list[Any]:
    with pulse.mixer() as mixer:
        return [each.proplist.get("application.name") for each in mixer.client_list()]


@pytest.mark.sound
def test_guest_that_was_there_before_the_agent_plays(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    dom0.start()
    assert_plays(work, pulse)


@pytest.mark.sound
def test_guest_created_after_the_agent_plays(
    dom0: Dom0, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    dom0.start()
    guest = new_guest("late")
    dom0.await_event("device_made", guest="late", domid=guest.domid)
    assert_plays(guest, pulse)


def test_guest_agent_that_comes_first_waits_for_the_one_in_dom0(
    dom0: Dom0, machine: LocalMachine, work: Guest
) -> None:
    with work.start("play", "-", stdin=[noise(0.5)]) as playing:
        lock = machine.directory / f"dom{work.domid}" / "frontend.lock"
        assert eventually(lock.exists)
        dom0.start()
        assert playing.ended() == PLAYED


@pytest.mark.sound
def test_rule_for_a_running_guest_gives_it_a_device(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer, work: Guest
) -> None:
    played = noise(0.5)
    dom0.write_policy(NEIGHBOUR_ALONE)
    dom0.start()
    with (
        pulse.listening() as ears,
        work.start("play", "-", stdin=[played]) as playing,
    ):
        assert nodes_of(machine, work) == []
        assert dom0.policy("allow-playback", "work").returncode == 0
        assert playing.ended() == PLAYED
        assert ears.hears(played), difference(played, ears.heard)
    assert nodes_of(machine, work) == ["0", "0"]


def test_guest_that_may_nothing_any_more_loses_its_device(
    dom0: Dom0, machine: LocalMachine, work: Guest
) -> None:
    dom0.start()
    dom0.await_event("device_made", domid=work.domid)
    dom0.write_policy(NEIGHBOUR_ALONE)
    dom0.await_event("device_removed", domid=work.domid)
    assert nodes_of(machine, work) == []
    dom0.write_policy(ALLOW_PLAYBACK)
    dom0.await_event("device_made", domid=work.domid, count=2)
    assert work.run("play", "-", stdin=noise(0.1)) == PLAYED


def test_device_that_the_toolstack_takes_away_stays_away_until_policy_gives_it_again(
    dom0: Dom0, machine: LocalMachine, work: Guest
) -> None:
    dom0.start()
    dom0.await_event("device_made", domid=work.domid)
    with closing(machine.open_store()) as store:
        toolstack.detach(store, work.domid)
    dom0.write_policy(f"{ALLOW_PLAYBACK}\n")
    dom0.await_event("policy_loaded", count=2)
    assert nodes_of(machine, work) == []
    dom0.write_policy(NEIGHBOUR_ALONE)
    dom0.await_event("policy_loaded", count=3)
    dom0.write_policy(ALLOW_PLAYBACK)
    dom0.await_event("device_made", domid=work.domid, count=2)
    assert work.run("play", "-", stdin=noise(0.1)) == PLAYED


def test_device_that_the_toolstack_puts_in_the_place_of_ours_is_offered_as_a_new_one(
    dom0: Dom0, machine: LocalMachine, work: Guest
) -> None:
    dom0.start()
    backend = f"/local/domain/0/backend/vsnd/{work.domid}/0"
    with closing(machine.open_store()) as store:
        assert eventually(lambda: read(store, f"{backend}/state") == "2")
        store.remove(f"{backend}/versions")
        store.write(f"{backend}/state", "1")
        assert eventually(lambda: read(store, f"{backend}/state") == "2")
        assert read(store, f"{backend}/versions") == "1,2"
    assert work.run("play", "-", stdin=noise(0.1)) == PLAYED


def test_device_closed_by_the_last_word_of_the_one_before_it_is_started_once_more(
    dom0: Dom0, machine: LocalMachine, work: Guest
) -> None:
    dom0.start()
    state = f"/local/domain/{work.domid}/device/vsnd/0/state"
    offered = f"/local/domain/0/backend/vsnd/{work.domid}/0/state"
    with closing(machine.open_store()) as store:
        assert eventually(lambda: read(store, offered) == "2")
        store.write(state, "6")
        assert eventually(lambda: read(store, state) == "1")
        assert work.run("play", "-", stdin=noise(0.1)) == PLAYED
        store.write(state, "6")
        dom0.write_policy(f"{ALLOW_PLAYBACK}\n")
        dom0.await_event("policy_loaded", count=2)
        assert read(store, state) == "6"


@pytest.fixture
def frontend(dom0: Dom0, machine: LocalMachine, work: Guest) -> Iterator[RawFrontend]:
    dom0.start()
    with driver_of(machine, dom0, work) as frontend:
        yield frontend


def test_driver_that_began_anew_while_there_was_no_agent_gets_its_card(
    dom0: Dom0, frontend: RawFrontend
) -> None:
    frontend.connect()
    dom0.stop()
    frontend.enter(XenbusState.INITIALISING)
    dom0.start()
    frontend.await_backend(XenbusState.INIT_WAIT)
    stream = frontend.connect()
    assert stream.ask(stream.good_open()) == Status.OK


def test_driver_that_answers_the_next_agent_is_served(dom0: Dom0, frontend: RawFrontend) -> None:
    frontend.offer_rings()
    frontend.enter(XenbusState.INITIALISED)
    frontend.await_backend(XenbusState.CONNECTED)
    dom0.stop()
    dom0.start()
    frontend.enter(XenbusState.CONNECTED)
    stream = frontend.streams[0]
    assert stream.ask(stream.good_open()) == Status.OK


def test_device_in_use_stays_when_its_guest_may_nothing_any_more(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer, work: Guest
) -> None:
    dom0.start()
    with pulse.listening() as ears, work.start("play", "-", stdin=[noise(1)]) as playing:
        ears.listen_until(lambda heard: heard.strip(b"\0"))
        dom0.write_policy(NEIGHBOUR_ALONE)
        dom0.await_event("decision", domid=work.domid, decision="deny")
        assert nodes_of(machine, work) == ["0", "0"]
        assert playing.ended() == PLAYED


@pytest.mark.sound
def test_destroyed_guest_leaves_nothing_behind_and_disturbs_no_other(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    dom0.start()
    doomed = Guest(machine, "doomed")
    with (
        neighbour_of(pulse, new_guest("neighbour")) as neighbour,
        pulse.listening() as ears,
        doomed.start("play", "-", stdin=[on_left(noise(60, frame_octets=2))]),
    ):
        ears.listen_until(lambda heard: left_of(heard).strip(b"\0"))
        assert "doomed" in clients(pulse)
        doomed.destroy()
        assert eventually(lambda: "doomed" not in clients(pulse))
        assert eventually(lambda: not nodes_of(machine, doomed))
        neighbour.assert_undisturbed()
        again = new_guest("doomed")
        assert again.run("play", "-", stdin=on_left(noise(0.2, frame_octets=2))) == PLAYED
    dom0.await_event("device_disconnected", domid=doomed.domid)


def test_guest_destroyed_while_there_is_no_agent_leaves_nothing_when_the_next_starts(
    dom0: Dom0, machine: LocalMachine
) -> None:
    dom0.start()
    doomed = Guest(machine, "doomed")
    dom0.await_event("device_made", domid=doomed.domid)
    dom0.stop()
    doomed.destroy()
    assert nodes_of(machine, doomed)
    dom0.start()
    assert eventually(lambda: not nodes_of(machine, doomed))


@pytest.mark.sound
def test_many_guests_destroyed_at_once_disturb_no_other(
    dom0: Dom0, machine: LocalMachine, pulse: PulseServer, new_guest: Callable[[str], Guest]
) -> None:
    dom0.start()
    with neighbour_of(pulse, new_guest("neighbour")) as neighbour:
        doomed = [Guest(machine, f"doomed-{number}") for number in range(8)]
        for guest in doomed:
            dom0.await_event("device_made", domid=guest.domid)
        for guest in doomed:
            guest.destroy()
        assert eventually(lambda: not any(nodes_of(machine, guest) for guest in doomed))
        neighbour.assert_undisturbed()


@pytest.mark.sound
def test_guest_agent_killed_while_it_plays_can_play_again(
    dom0: Dom0, pulse: PulseServer, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    dom0.start()
    played = noise(0.5, frame_octets=2)
    with neighbour_of(pulse, new_guest("neighbour")) as neighbour, pulse.listening() as ears:
        with work.start("play", "-", stdin=[on_left(noise(60, frame_octets=2, seed=3))]) as first:
            ears.listen_until(lambda heard: left_of(heard).strip(b"\0"))
            first.process.kill()
        ears.listen_until(lambda heard: not left_of(heard[-SECOND_OCTETS // 20 :]).strip(b"\0"))
        assert work.run("play", "-", stdin=on_left(played)) == PLAYED
        heard = left_of(ears.listen_until(lambda heard: played in left_of(heard)))
        assert played in heard, difference(played, heard)
        neighbour.assert_undisturbed()


@pytest.mark.sound
def test_second_guest_agent_is_refused_and_the_first_goes_on(
    dom0: Dom0, pulse: PulseServer, work: Guest, tmp_path: Path
) -> None:
    dom0.start()
    file = write_wav(tmp_path / "noise.wav", noise(0.1))
    with neighbour_of(pulse, work) as neighbour:
        assert work.run("play", str(file)) == Ended(
            2,
            "xensnd-guest: this guest's sound card is in use by another xensnd-guest; stop that "
            "one first, or use the audio server that it serves\n",
        )
        neighbour.assert_undisturbed()


def test_guest_agent_without_one_in_dom0_says_what_to_do(lonely: Running) -> None:
    assert lonely.ended() == Ended(2, NO_CARD)
