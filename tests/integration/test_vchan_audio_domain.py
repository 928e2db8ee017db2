"""A guest whose sound moves between dom0 and an audio domain while it runs, as in Qubes.

Its audiovm is changed: qvm-start-daemon ends the pacat in the one domain and begins one in the
other, and the guest's module, which is told by QubesDB, offers its vchans to the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.agents import PATIENT, Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pacat import Pacat
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually
from tests.support.vchan_guest import PIPEWIRE, VchanGuest

OPTIONS = ("--vchan=registered",)
AUDIO_POLICY = """version: 1
rules:
  - {guest: work, playback: allow, capture: allow}
"""


@pytest.fixture
def audio(
    tmp_path: Path,
    machine: LocalMachine,
    pulse: PulseServer,
    new_guest: Callable[[str], Guest],
) -> Iterator[Dom0]:
    """The agent of an audio domain, which sees no other domain."""
    new_guest("audio")
    command = [sys.executable, "-m", "tests.support.audio_domain", "audio"]
    audio = Dom0(
        *(tmp_path / "audio", machine.url, pulse.address),
        policy=AUDIO_POLICY,
        options=[PATIENT, *OPTIONS, f"--control={tmp_path / 'audio-control'}"],
        command=command,
    )
    audio.control = tmp_path / "audio-control"
    with audio:
        yield audio
    assert "Traceback" not in audio.log


@pytest.fixture
def guest(machine: LocalMachine, dom0: Dom0, work: Guest) -> Iterator[VchanGuest]:
    assert dom0.pid
    with VchanGuest(machine, "work", PIPEWIRE, domid=work.domid) as guest:
        yield guest


def plays(agent: Dom0, guest: VchanGuest) -> bool:
    guest.play(noise(0.5, rate_hz=44100))
    return any(
        each["name"] == guest.name and each["plays"] for each in agent.ask("status")["guests"]
    )


def test_sound_moves_to_another_audio_domain_and_back(
    tmp_path: Path, machine: LocalMachine, dom0: Dom0, audio: Dom0, guest: VchanGuest
) -> None:
    (tmp_path / "there").mkdir()
    here = Pacat(tmp_path, dom0.control, guest.domid, guest.name)
    there = Pacat(tmp_path / "there", audio.control, guest.domid, guest.name)
    audio_domid = machine.transport("audio").domid
    for pacat, agent, domid in (
        (here, dom0, 0),
        (there, audio, audio_domid),
        (here, dom0, 0),
    ):
        guest.move_to(domid)
        with pacat:
            assert eventually(partial(plays, agent, guest)), agent.end_of_log
            others = [each for each in (dom0, audio) if each is not agent]
            assert not any(plays(other, guest) for other in others)
        assert pacat.log == ""


def test_two_guests_of_one_name_are_told_and_neither_records(
    tmp_path: Path, machine: LocalMachine, audio: Dom0, guest: VchanGuest
) -> None:
    """The audio domain only knows what qvm-start-daemon says."""
    (tmp_path / "other").mkdir()
    guest.move_to(machine.transport("audio").domid)
    with (
        VchanGuest(machine, "other") as other,
        Pacat(tmp_path, audio.control, guest.domid, "work"),
        Pacat(tmp_path / "other", audio.control, other.domid, "work"),
    ):
        for each in (guest, other):
            shared = audio.await_event("name_shared", domid=each.domid)
            assert "shares its name with another running guest" in shared["MESSAGE"]
        assert eventually(lambda: guest.is_connected), audio.end_of_log
        guest.start_recording()
        denied = audio.await_event("decision", direction="capture", domid=guest.domid)
        assert denied["XENSND_DECISION"] == "deny"
    machine.destroy("other")


def test_microphone_moves_with_the_policy_of_the_domain_that_has_it(
    tmp_path: Path, machine: LocalMachine, dom0: Dom0, audio: Dom0, guest: VchanGuest
) -> None:
    """dom0 denies it, the audio domain allows it."""
    (tmp_path / "there").mkdir()
    with Pacat(tmp_path, dom0.control, guest.domid, guest.name):
        assert eventually(lambda: guest.is_connected), dom0.end_of_log
        guest.start_recording()
        denied = dom0.await_event("decision", guest="work", direction="capture")
        assert denied["XENSND_DECISION"] == "deny"
    guest.move_to(machine.transport("audio").domid)
    with Pacat(tmp_path / "there", audio.control, guest.domid, guest.name):
        assert eventually(lambda: guest.is_connected), audio.end_of_log
        guest.start_recording()
        allowed = audio.await_event("decision", guest="work", direction="capture")
        assert allowed["XENSND_DECISION"] == "allow"
