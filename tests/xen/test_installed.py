"""The packages where they belong: installed with apt in a dom0 and in a guest that systemd runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.heard import (
    FRAME_OCTETS,
    gaps,
    gaps_of_whole,
    seconds_heard,
    stretches,
    without_silence,
)
from tests.support.pulse_server import noise
from tests.xen.dom0 import PATIENT, Pulse
from tests.xen.guest import LONG_BUFFER, arecord, cards, load_driver, plays_exactly
from tests.xen.images import PERSON, build_images
from tests.xen.lab import Lab, XenGuest, wait_until
from tests.xen.packages import apt, build_later, build_packages, install
from tests.xen.remote import Machine, Process
from tests.xen.session import Session, SessionPulse
from tests.xen.slow_sound import (
    SLOW_HZ,
    SLOW_QUEUED_MSEC,
    SLOW_SECOND,
    SLOW_STEREO,
)

SECOND = 4 * 48000
SERVICE = "xensnd-dom0.service"
LATER = itertools.count(99)  # the versions to upgrade to: a new one if a case is run once more
EXPOSURE_MAX = 2.0
START_SECONDS = 60

# Emulated, dom0 is later than any machine that people have: see PATIENT.
DROP_IN = f"[Service]\nExecStart=\nExecStart=/usr/bin/xensnd-dom0 {PATIENT} {{options}}\n"

# dom0's root is a guest's as well; its own disk is dom0's, read-only.
SYSTEM_DISK = 'disk = [ "format=raw, vdev=xvda, access=ro, script=block-lab, target=/dev/vda" ]'


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    images = build_images(print)
    with Lab(images, tmp_path_factory.mktemp("system"), images.system_root) as system:
        yield system


@pytest.fixture(scope="module")
def dom0(system: Lab, packages: Path) -> Machine:
    """With the packages, and a person who may answer."""
    install(system.dom0, packages, "xensnd-common", "xensnd-dom0")
    system.dom0.do("usermod", "-aG", "xensnd-session", PERSON)
    return system.dom0


@pytest.fixture(scope="module")
def pulse(dom0: Machine) -> Iterator[Pulse]:
    session = Session(dom0)
    session.open()
    with SessionPulse(session) as pulse:
        yield pulse


@pytest.fixture(scope="module")
def work(system: Lab, dom0: Machine, pulse: Pulse) -> Iterator[XenGuest]:  # noqa: ARG001
    """A guest with the stock driver, while the agent is as patient as the lab needs it."""
    unit = dom0.do("cat", "/lib/systemd/system/xensnd-dom0.service")
    (options,) = re.findall(r"^ExecStart=/usr/bin/xensnd-dom0 (.*)$", unit, re.MULTILINE)
    dom0.do("mkdir", "-p", f"/run/systemd/system/{SERVICE}.d")
    drop_in = DROP_IN.format(options=options)
    dom0.write_file(f"/run/systemd/system/{SERVICE}.d/lab.conf", drop_in.encode())
    dom0.do("systemctl", "daemon-reload")
    dom0.do("systemctl", "restart", SERVICE)
    with system.guest("work") as guest:
        load_driver(guest)
        yield guest


def shown(dom0: Machine, *properties: str) -> dict[str, str]:
    """What systemd knows of the service."""
    wanted = [f"--property={name}" for name in properties]
    lines = dom0.do("systemctl", "show", SERVICE, *wanted).splitlines()
    return dict(line.split("=", 1) for line in lines)


def journal_of(dom0: Machine) -> str:
    """The last lines of the service."""
    return dom0.do("journalctl", "--unit", SERVICE, "--lines=40", "--output=short-monotonic")


def test_service_runs_as_soon_as_it_is_installed(dom0: Machine) -> None:
    state = shown(dom0, "ActiveState", "User", "StatusText", "NRestarts")
    assert state == {
        "ActiveState": "active",
        "User": "xensnd",
        "StatusText": "0 guests",
        "NRestarts": "0",
    }
    assert dom0.do("systemctl", "is-enabled", SERVICE) == "enabled\n"
    pid = shown(dom0, "MainPID")["MainPID"]
    status = dom0.do("cat", f"/proc/{pid}/status")
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE), status
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE), status
    journal = dom0.do("journalctl", "--unit", SERVICE, "--output=cat").splitlines()
    assert journal.count("the agent has started") == 1, journal  # it is not in the log as well
    assert not [line for line in journal if "Traceback" in line]
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE), status


def test_sandbox_is_as_tight_as_promised(dom0: Machine) -> None:
    said = dom0.do("systemd-analyze", "security", "--no-pager", SERVICE)
    found = re.search(r"Overall exposure level for xensnd-dom0.service: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) < EXPOSURE_MAX


def test_guest_with_the_stock_driver_plays_to_the_persons_session(
    dom0: Machine, pulse: Pulse, work: XenGuest
) -> None:
    plays_exactly(pulse, work, 1)
    journal = dom0.do("journalctl", "-o", "cat", "XENSND_GUEST=work", "XENSND_DIRECTION=playback")
    assert "work: playback allow (/etc/xensnd/policy.d/90-default.yaml:" in journal


def test_guest_records_silence_until_it_is_allowed(
    dom0: Machine, pulse: Pulse, work: XenGuest
) -> None:
    spoken = noise(25, seed=2)
    with pulse.microphone(spoken):
        denied = arecord(work, 1)
        assert (denied.status, denied.octets) == (0, bytes(SECOND))
        dom0.do("xensnd-policy", "allow-capture", "work")
        allowed = arecord(work, 4)
    assert allowed.status == 0
    # Whether it is whole is for test_stock_driver.py; alice's PulseAudio runs beside much else.
    assert len(allowed.octets) == 4 * SECOND
    assert all(each.missing >= 0 for each in gaps(allowed.octets, spoken))
    assert len(without_silence(allowed.octets)) > 2 * SECOND


def test_grant_that_root_gives_is_used_up_by_the_agent(
    dom0: Machine, pulse: Pulse, work: XenGuest
) -> None:
    """They are different users, and both write the file."""
    dom0.do("xensnd-policy", "deny-capture", "work")
    dom0.do("xensnd-policy", "allow-capture", "work", "--once", "--for", "10m")
    with pulse.microphone(noise(25, seed=3)):
        assert arecord(work, 4).octets.strip(b"\0")
        wait_until(
            lambda: not arecord(work, 1).octets.strip(b"\0"),
            START_SECONDS,
            lambda: dom0.do("xensnd-policy", "explain", "work"),
        )


# The seconds of long_noise(), one by one.
NOISE_UNTIL_TOLD = f"""
import itertools, os, random, sys
for number in itertools.count():
    if os.path.exists("/tmp/enough"):
        break
    octets = random.Random(number).randbytes({SLOW_SECOND})
    sys.stdout.buffer.write(octets.replace(b"\\0", b"\\1"))
"""


def long_noise(seconds: int) -> bytes:
    """No part of it is twice in it."""
    return b"".join(noise(1, seed=number, rate_hz=SLOW_HZ) for number in range(seconds))


@contextmanager
def playing_until_told(guest: XenGuest) -> Iterator[Process]:
    """Until there is a file /tmp/enough, however long an emulated upgrade may take."""
    aplay_it = " ".join(("aplay", "-q", "-t", "raw", "-D", "hw:0,0", *SLOW_STEREO, *LONG_BUFFER))
    with guest.start("sh", "-c", f'python3 -c "$1" | {aplay_it}', "-", NOISE_UNTIL_TOLD) as playing:
        yield playing


def test_upgrade_while_a_guest_plays_leaves_its_card(
    dom0: Machine, pulse: Pulse, work: XenGuest, packages: Path, tmp_path: Path
) -> None:
    version = f"{next(LATER)}.0"
    later = build_later(packages, tmp_path, version)
    work.run("rm", "/tmp/enough")
    before = shown(dom0, "MainPID", "NRestarts")
    with pulse.hearing_at(SLOW_HZ) as ears, playing_until_told(work) as playing:
        ears.listen_until(seconds_heard(1, SLOW_HZ))
        install(dom0, later, "xensnd-common", "xensnd-dom0")
        wait_until(
            lambda: f"agent: {version}" in dom0.run("xensnd-policy", "status").output,
            START_SECONDS,
            lambda: journal_of(dom0),
        )
        print(journal_of(dom0))
        assert playing.is_running, playing.ended()
        work.do("touch", "/tmp/enough")
        assert playing.ended().status == 0
        heard = ears.listen_until(lambda heard: heard.endswith(bytes(SLOW_SECOND)))
    # As late as dom0 is beside apt there may be silence in it, but nothing is lost.
    seconds = 1 + len(without_silence(heard)) // SLOW_SECOND
    end = stretches(heard, long_noise(seconds))[-1].end * FRAME_OCTETS
    assert end % SLOW_SECOND == 0
    gaps_of_whole(heard, long_noise(end // SLOW_SECOND), queued_msec=SLOW_QUEUED_MSEC)
    assert shown(dom0, "MainPID", "NRestarts") == before
    assert "vsnd" in cards(work)
    plays_exactly(pulse, work, 5)


@pytest.fixture
def office(system: Lab, work: XenGuest) -> Iterator[XenGuest]:  # noqa: ARG001 (the agent's patience)
    """A guest that systemd runs."""
    with system.guest("office", ramdisk="/boot/ramdisk", config=SYSTEM_DISK) as guest:
        yield guest


def test_guest_with_the_package_plays_from_its_own_session(
    pulse: Pulse, office: XenGuest, packages: Path
) -> None:
    install(office, packages, "xensnd-common", "xensnd-guest")
    office.do("usermod", "-aG", "xensnd", PERSON)
    person = Session(office)
    person.open()
    played = noise(2, seed=6)
    with SessionPulse(person) as own:
        wait_until(
            lambda: "xensnd" in own.pactl("list", "short", "sinks"),
            START_SECONDS,
            lambda: person.run("systemctl", "--user", "status", "xensnd-guest").output,
        )
        with pulse.listening() as ears:
            pacat = ["pacat", f"--server={own.address}", "--raw", "--device=xensnd"]
            pacat += ["--format=s16le", "--rate=48000", "--channels=2"]
            assert person.run(*pacat, stdin=played).status == 0
            heard = ears.listen_until(lambda heard: len(without_silence(heard)) > SECOND)
            assert len(without_silence(heard)) > SECOND


def test_removal_takes_all_but_what_people_wrote_and_purging_takes_that(
    dom0: Machine, pulse: Pulse
) -> None:
    dom0.do("rm", "-r", f"/run/systemd/system/{SERVICE}.d")  # the lab's own
    apt(dom0, "remove", "xensnd-dom0", "xensnd-common")
    assert "could not be found" in dom0.run("systemctl", "status", SERVICE).errors
    assert dom0.do("ls", "/etc/xensnd/policy.d").split() == ["30-user.yaml", "90-default.yaml"]
    pulse.stop()
    pulse.start()
    assert "xensnd-session" not in pulse.pactl("list", "modules")
    apt(dom0, "purge", "xensnd-dom0", "xensnd-common")
    assert dom0.do("find", "/etc", "/usr", "-xdev", "-name", "*xensnd*") == ""
