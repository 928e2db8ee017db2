"""The audit trail cannot be written: nobody records until it can be, and nothing else changes.

No guest can bring that about.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.hostile.evil_guest import EvilGuest
from tests.support.agents import PATIENT, Dom0, Ended, Guest, neighbour_of
from tests.support.audit_table import told
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually
from xensnd.sndif.packets import Close, Status, encode_request

POLICY = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'
SECOND = 48000 * 4
# What the weight of an OPEN lets a guest have in ten seconds. One record each is more than the disk
# has room for.
FLOOD_PAIRS, PAIRS_AT_ONCE = 250, 10
LOST = "capture is denied until it can be written again"


@contextmanager
def small_disk(directory: Path, kib: int = 64) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def fill(disk: Path) -> None:
    with open(disk / "filler", "ab", buffering=0) as file:
        for octets in (4096, 1):
            try:
                while True:
                    file.write(bytes(octets))
            except OSError:
                continue


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk: needs root")
def test_full_disk_denies_capture_until_there_is_room_and_keeps_playback(
    tmp_path: Path,
    machine: LocalMachine,
    pulse: PulseServer,
    work: Guest,
    new_guest: Callable[[str], Guest],
) -> None:
    spoken = noise(30)
    with (
        small_disk(tmp_path / "disk") as disk,
        Dom0(
            tmp_path / "dom0",
            machine.url,
            pulse.address,
            policy=POLICY,
            audit=str(disk / "audit.jsonl"),
            options=[PATIENT],
        ) as dom0,
        pulse.microphone(spoken),
        neighbour_of(pulse, new_guest("neighbour")) as neighbour,
        work.start("record", "-", "--seconds=30") as recording,
    ):
        dom0.audit_file = disk / "audit.jsonl"
        recording.listen_until(lambda heard: len(heard.lstrip(b"\0")) > SECOND / 4)

        fill(disk)
        dom0.hang_up_until(LOST)  # the trail's last block still has some room
        arrived = len(recording.heard)
        heard = recording.listen_until(lambda heard: len(heard) > arrived + SECOND)
        assert len(heard) > arrived + SECOND
        assert not heard[arrived + SECOND // 2 :].strip(b"\0")
        neighbour.assert_undisturbed()

        (disk / "filler").unlink()
        resumed = dom0.await_event("audit_resumed")
        dom0.await_event("decision", domid=work.domid, decision="allow", count=2)
        silent = len(recording.heard)
        heard = recording.listen_until(lambda heard: heard[silent:].strip(b"\0"), 2)
        assert heard[silent:].strip(b"\0")
        neighbour.assert_undisturbed()

        late = resumed["XENSND_LATE"]
        assert late == len([each for each in dom0.events() if "XENSND_TIME" in each]) >= 1
        assert resumed["XENSND_MISSING"] == 0
        assert resumed["MESSAGE"] == (
            f"the audit trail is written again; {late} events were written late, "
            "0 are missing from it"
        )
        for line in dom0.audit_file.read_text().splitlines():
            json.loads(line)
        (said,) = [line for line in dom0.log.splitlines() if LOST in line]
        assert said == f"xensnd-dom0: audit {dom0.audit_file}: No space left on device; {LOST}"
        assert "Traceback" not in dom0.log


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk: needs root")
def test_guest_that_opens_and_closes_without_end_neither_fills_the_disk_nor_hides_a_decision(
    tmp_path: Path,
    machine: LocalMachine,
    pulse: PulseServer,
    work: Guest,
    new_guest: Callable[[str], Guest],
) -> None:
    with (
        small_disk(tmp_path / "disk", kib=256) as disk,
        Dom0(
            tmp_path / "dom0",
            machine.url,
            pulse.address,
            policy=POLICY,
            audit=str(disk / "audit.jsonl"),
            options=[PATIENT],
        ) as dom0,
        pulse.microphone(noise(30)),
    ):
        dom0.audit_file = disk / "audit.jsonl"
        with EvilGuest(machine, dom0, new_guest("evil")) as evil:
            stream = evil.connect()
            pair = [encode_request(1, stream.good_open()), encode_request(2, Close())]
            for _ in range(FLOOD_PAIRS // PAIRS_AT_ONCE):
                assert set(stream.send(*pair * PAIRS_AT_ONCE)) == {Status.OK}

            with work.start("record", "-", "--seconds=30") as recording:
                assert recording.listen_until(lambda heard: heard.strip(b"\0")).strip(b"\0")
            decision = dom0.await_event("decision", domid=work.domid)
            assert decision["XENSND_DECISION"] == "allow"
            assert dom0.ask("status")["audit"]["missing"] == 0

            for kind in ("stream_opened", "decision", "stream_closed"):
                assert eventually(partial(has_told, dom0, kind, FLOOD_PAIRS)), kind
        assert dom0.audit_file.stat().st_size < 128 * 1024
        verified = dom0.policy("log", "--verify", "--file", str(dom0.audit_file))
        assert verified.returncode == 0, verified.stdout


def has_told(dom0: Dom0, kind: str, count: int) -> bool:
    return told(dom0.events(guest="evil"), kind) == count


def test_recording_that_begins_while_the_trail_is_lost_gets_silence(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, work: Guest
) -> None:
    with (
        Dom0(
            tmp_path / "dom0",
            machine.url,
            pulse.address,
            policy=POLICY,
            audit="/dev/full",
            options=[PATIENT],
        ) as dom0,
        pulse.microphone(noise(5)),
        work.start("record", "-", "--seconds=0.5") as recording,
    ):
        assert recording.ended() == Ended(0)
        assert recording.heard == bytes(SECOND // 2)
        assert work.run("play", "-", stdin=noise(0.1)) == Ended(0)
    (said,) = [line for line in dom0.log.splitlines() if LOST in line]
    assert said == f"xensnd-dom0: audit /dev/full: No space left on device; {LOST}"
    assert "Traceback" not in dom0.log
