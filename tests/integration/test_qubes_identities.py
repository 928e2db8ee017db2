"""What Qubes OS says of qubes reaches policy: xensnd-qubes is real, qubesd is a stand-in for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.language import platform
from policy.matching import GuestIdentity
from policy.paths import PolicyPaths
from tests.support.agents import Dom0, Guest
from tests.support.asking import falls_silent, goes_live, recording, stays_silent
from tests.support.daemon import Daemon
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.qubesd import Qubesd
from tests.support.raw_frontend import eventually

QREXEC = """#!{python}
import shutil, socket, sys
target, call = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as qubesd:
    qubesd.connect({socket!r})
    name = call if "+" in call else call + "+"
    qubesd.sendall(f"{{name}} sys-audio name {{target}}\\0".encode())
    qubesd.shutdown(socket.SHUT_WR)
    while part := qubesd.recv(65536):
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
"""


class QubesService(Daemon):
    """xensnd-qubes, which keeps a file, and what policy makes of that."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__("xensnd-qubes", directory / "xensnd-qubes.log")
        self.file = directory / "qubes" / "guests.yaml"
        self.file.parent.mkdir()
        self._options = options

    def start(self) -> None:
        module = [sys.executable, "-m", "agent_dom0.qubes.cli"]
        self.launch([*module, f"--file={self.file}", *self._options])

    def knows(self, name: str) -> GuestIdentity:
        paths = PolicyPaths([self.file.parent / "none" / "policy.d"], platform=self.file)
        return platform.load(paths).guest(name)

    def await_knows(self, expected: GuestIdentity) -> None:
        assert eventually(lambda: self.knows(expected.name) == expected), (
            self.knows(expected.name),
            self.end_of_log,
        )


@pytest.fixture
def qubesd(tmp_path: Path) -> Iterator[Qubesd]:
    with Qubesd(tmp_path) as qubesd:
        qubesd.add("debian-12", "TemplateVM", "black")
        qubesd.add("whonix-workstation-17", "TemplateVM", "black")
        qubesd.add("work", "AppVM", "blue", "debian-12", "calls", "created-by-dom0")
        qubesd.add("whonix-dvm", "AppVM", "red", "whonix-workstation-17")
        qubesd.add("disp7", "DispVM", "red", "whonix-dvm")
        yield qubesd


@pytest.fixture
def service(tmp_path: Path, qubesd: Qubesd) -> Iterator[QubesService]:
    with QubesService(tmp_path, f"--qubesd={qubesd.socket}") as service:
        yield service
    assert "Traceback" not in service.log


WORK = GuestIdentity(
    "work", None, "blue", frozenset({"calls", "created-by-dom0"}), "AppVM", "debian-12", ""
)


def test_qube_is_known_by_class_label_tags_and_template(service: QubesService) -> None:
    service.await_knows(WORK)
    assert service.knows("debian-12") == GuestIdentity(
        "debian-12", None, "black", frozenset(), "TemplateVM", "", ""
    )
    assert service.knows("dom0") == GuestIdentity("dom0")


def test_disposable_is_known_by_its_qube_and_by_the_template_of_that(service: QubesService) -> None:
    service.await_knows(
        GuestIdentity(
            "disp7", None, "red", frozenset(), "DispVM", "whonix-workstation-17", "whonix-dvm"
        )
    )


def test_each_change_is_known_at_once(service: QubesService, qubesd: Qubesd) -> None:
    service.await_knows(WORK)
    qubesd.set("work", label="red")
    assert eventually(lambda: service.knows("work").label == "red")
    qubesd.tag("work", "later")
    assert eventually(lambda: "later" in (service.knows("work").tags or ()))
    qubesd.untag("work", "later")
    assert eventually(lambda: "later" not in (service.knows("work").tags or ()))
    qubesd.set("whonix-dvm", template="debian-12")
    assert eventually(lambda: service.knows("disp7").template == "debian-12")
    qubesd.add("disp8", "DispVM", "orange", "whonix-dvm")
    assert eventually(lambda: service.knows("disp8").qube_class == "DispVM")
    qubesd.remove("work")
    assert eventually(lambda: service.knows("work") == GuestIdentity("work"))


def test_what_qubesd_refuses_is_not_known_and_the_rest_is(
    service: QubesService, qubesd: Qubesd
) -> None:
    service.await_knows(WORK)
    qubesd.refuse("admin.vm.tag.List")
    qubesd.set("work", label="red")
    service.await_knows(GuestIdentity("work", None, "red", None, "AppVM", "debian-12", ""))
    assert service.log.count("admin.vm.tag.List of work is not allowed; rules that compare it") == 1


def test_changes_while_qubesd_is_restarted_are_not_lost(
    service: QubesService, qubesd: Qubesd, tmp_path: Path
) -> None:
    service.await_knows(WORK)
    qubesd.kill()
    assert eventually(lambda: "qubesd: " in service.log)
    assert service.knows("work") == WORK  # nobody can change anything now
    state = tmp_path / "qubes.json"
    text = json.loads(state.read_text())
    text["work"] = {"class": "StandaloneVM", "label": "green", "tags": []}
    state.write_text(json.dumps(text))
    qubesd.start()
    service.await_knows(GuestIdentity("work", None, "green", frozenset(), "StandaloneVM", "", ""))
    assert "xensnd-qubes: qubesd answers again\n" in service.log


def test_audio_domain_asks_through_qrexec(tmp_path: Path, qubesd: Qubesd) -> None:
    qrexec = tmp_path / "qrexec-client-vm"
    qrexec.write_text(QREXEC.format(python=sys.executable, socket=str(qubesd.socket)))
    qrexec.chmod(0o755)
    with QubesService(tmp_path, f"--qrexec={qrexec}") as service:
        service.await_knows(WORK)
        qubesd.set("work", label="red")
        assert eventually(lambda: service.knows("work").label == "red")


def test_without_qubesd_nothing_is_known_and_one_line_says_so(tmp_path: Path) -> None:
    with QubesService(tmp_path, f"--qubesd={tmp_path / 'none.sock'}") as service:
        assert eventually(lambda: "qubesd: " in service.log)
        assert not service.file.exists()
    assert service.log_lines == [
        f"xensnd-qubes: qubesd: {tmp_path / 'none.sock'}: No such file or directory; "
        "it is tried again"
    ]


POLICY = """version: 1
rules:
  - {guest: class:DispVM, playback: allow, capture: deny}
  - {guest: 'template:whonix-*', playback: allow, capture: deny}
  - {guest: label:blue, playback: allow, capture: allow}
  - {guest: '*', playback: allow, capture: deny}
"""


@pytest.fixture
def dom0(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, service: QubesService
) -> Iterator[Dom0]:
    options = [f"--identities={service.file}"]
    dom0 = Dom0(tmp_path / "dom0", machine.url, pulse.address, policy=POLICY, options=options)
    with pulse.microphone(noise(60)), dom0:
        yield dom0
    assert "Traceback" not in dom0.log


@pytest.mark.alone
def test_recording_goes_live_and_falls_silent_as_the_qube_changes(
    dom0: Dom0, service: QubesService, qubesd: Qubesd, work: Guest
) -> None:
    service.await_knows(WORK)
    with recording(work) as running:
        assert goes_live(running)
        shown = dom0.shown("work")
        assert (shown["class"], shown["label"], shown["template"]) == ("AppVM", "blue", "debian-12")
        qubesd.set("work", label="red")
        assert falls_silent(running)
        qubesd.set("work", label="blue")
        assert goes_live(running)
        qubesd.set("work", template="whonix-workstation-17")
        assert falls_silent(running)
        denial = dom0.events("decision", guest="work")[-1]
        assert "template:whonix-*" in denial["MESSAGE"]


@pytest.mark.alone
def test_qube_of_which_nothing_is_known_records_nothing(
    dom0: Dom0, service: QubesService, work: Guest
) -> None:
    service.await_knows(WORK)
    service.kill()
    service.file.unlink()
    lost = dom0.await_event("identities_lost")
    assert "guests.yaml is missing, does xensnd-qubes run?" in lost["MESSAGE"]
    with recording(work) as running:
        assert stays_silent(running)
        service.start()
        dom0.await_event("identities_found")
        assert goes_live(running)
