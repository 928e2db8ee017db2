"""dom0:mic of Qubes and policy agree: with a QubesDB that speaks its wire, all else is real."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agents import PATIENT, Dom0, Guest
from tests.support.asking import falls_silent, goes_live, recording, stays_silent
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise
from tests.support.qubesdb import QubesDbDaemon
from tests.support.raw_frontend import eventually

HEAD = "version: 1\nrules:\n"
NOBODY = f"{HEAD}  - {{guest: '*', playback: allow, capture: deny}}\n"
EVERYBODY = f"{HEAD}  - {{guest: '*', playback: allow, capture: allow}}\n"


@pytest.fixture
def qubesdb(tmp_path: Path) -> Iterator[QubesDbDaemon]:
    with QubesDbDaemon(tmp_path / "qubesdb.sock") as daemon:
        yield daemon


@pytest.fixture
def new_dom0(
    tmp_path: Path, machine: LocalMachine, pulse: PulseServer, qubesdb: QubesDbDaemon
) -> Iterator[Callable[[str], Dom0]]:
    """`new_dom0(policy)`: an agent, not started yet."""
    options = [PATIENT, f"--qubesdb={qubesdb.path}"]
    dom0 = Dom0(tmp_path / "dom0", machine.url, pulse.address, options=options)

    def create(policy: str) -> Dom0:
        dom0.write_policy(policy)
        return dom0

    with pulse.microphone(noise(60)):
        yield create
    if dom0.process is not None:
        assert dom0.stop() == 0
    assert "Traceback" not in dom0.log


def grants_of(dom0: Dom0) -> str:
    file = dom0.runtime_directory / "00-grants.yaml"
    return file.read_text() if file.exists() else ""


def attach(qubesdb: QubesDbDaemon, qube: Guest) -> None:
    with recording(qube):
        qubesdb.await_mic(qube.name, attached=False)
        qubesdb.attach_mic(qube.name)
        qubesdb.await_mic(qube.name, attached=True)


def test_microphone_attached_in_qubes_goes_live_and_detached_falls_silent(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    dom0 = new_dom0(NOBODY)
    dom0.start()
    with recording(work) as running:
        assert stays_silent(running)
        assert eventually(lambda: qubesdb.mic_of("work") == ("0", "0", "1"))
        qubesdb.attach_mic("work")
        assert goes_live(running)
        qubesdb.await_mic("work", attached=True)
        assert "{guest: work, capture: allow, " in grants_of(dom0)
        dom0.await_event("microphone_attached", guest="work")
        dom0.await_event("grant_made", guest="work")
        qubesdb.detach_mic("work")
        assert falls_silent(running)
        qubesdb.await_mic("work", attached=False)
        dom0.await_event("microphone_detached", guest="work")
    assert eventually(lambda: qubesdb.mic_of("work") == ("0", "0", "0"))


def test_device_in_qubes_follows_the_commands(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    dom0 = new_dom0(NOBODY)
    dom0.start()
    with recording(work):
        qubesdb.await_mic("work", attached=False)
        assert dom0.policy("allow-capture", "work").returncode == 0
        qubesdb.await_mic("work", attached=True)
        assert dom0.policy("deny-capture", "work").returncode == 0
        qubesdb.await_mic("work", attached=False)
        assert dom0.policy("allow-capture", "work", "--for=2s").returncode == 0
        qubesdb.await_mic("work", attached=True)
        qubesdb.await_mic("work", attached=False)
    assert dom0.events("microphone_attached") == dom0.events("microphone_detached") == []


def test_detaching_holds_against_a_rule_that_allows(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    dom0 = new_dom0(EVERYBODY)
    dom0.start()
    with recording(work) as running:
        assert goes_live(running)
        qubesdb.await_mic("work", attached=True)
        qubesdb.detach_mic("work")
        assert falls_silent(running)
        qubesdb.await_mic("work", attached=False)
        assert dom0.policy_file.read_text() == EVERYBODY
        assert "{guest: work, capture: deny, " in grants_of(dom0)
        assert dom0.policy("allow-capture", "work").returncode == 0
        assert goes_live(running)
        qubesdb.await_mic("work", attached=True)


def test_detaching_does_not_wait_for_whoever_edits_the_grants(
    new_dom0: Callable[[str], Dom0],
    qubesdb: QubesDbDaemon,
    work: Guest,
    new_guest: Callable[[str], Guest],
) -> None:
    mail = new_guest("mail")
    dom0 = new_dom0(EVERYBODY.replace("rules:\n", "rules:\n  - {guest: mail, capture: deny}\n"))
    dom0.runtime_directory.mkdir(mode=0o755)
    dom0.start()
    with recording(work) as running, recording(mail):
        qubesdb.await_mic("mail", attached=False)
        assert goes_live(running)
        with (dom0.runtime_directory / ".00-grants.yaml.lock").open("w") as editing:
            fcntl.flock(editing, fcntl.LOCK_EX)
            qubesdb.attach_mic("mail")
            dom0.await_event("microphone_attached", guest="mail")
            qubesdb.detach_mic("work")
            assert falls_silent(running)
            assert "{guest:" not in grants_of(dom0)
        qubesdb.await_mic("mail", attached=True)
        qubesdb.await_mic("work", attached=False)


def test_microphone_that_was_detached_before_anybody_looked_stays_so(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    qubesdb.detach_mic("work")
    dom0 = new_dom0(EVERYBODY)
    dom0.start()
    with recording(work):
        dom0.await_event("microphone_detached", guest="work")
        qubesdb.await_mic("work", attached=False)


def test_qube_that_uses_no_card_of_ours_is_left_alone(
    new_dom0: Callable[[str], Dom0],
    qubesdb: QubesDbDaemon,
    work: Guest,
    new_guest: Callable[[str], Guest],
) -> None:
    new_guest("pacats")
    qubesdb.attach_mic("pacats")
    dom0 = new_dom0(NOBODY)
    dom0.start()
    with recording(work):
        qubesdb.await_mic("work", attached=False)
        qubesdb.detach_mic("pacats")
        qubesdb.attach_mic("work")
        qubesdb.await_mic("work", attached=True)
    assert qubesdb.mic_of("pacats") == ("0", None, None)


def test_detaching_while_policy_is_bad_holds_once_it_is_good(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    dom0 = new_dom0(EVERYBODY)
    dom0.start()
    with recording(work) as running:
        qubesdb.await_mic("work", attached=True)
        dom0.write_policy("version: 1\nrules: [7]\n")
        qubesdb.await_mic("work", attached=False)
        dom0.use(EVERYBODY)
        qubesdb.await_mic("work", attached=True)
        assert goes_live(running)  # or what was live still comes after the silence awaited below
        (dom0.policy_directory / "20-bad.yaml").write_text("x")
        qubesdb.detach_mic("work")
        qubesdb.await_mic("work", attached=False)
        (dom0.policy_directory / "20-bad.yaml").unlink()
        dom0.await_event("policy_loaded", count=3)
        assert falls_silent(running)
        assert stays_silent(running)


def test_attaching_against_a_rule_that_grants_do_not_override_is_undone(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    dom0 = new_dom0(NOBODY)
    always = dom0.policy_directory / "00-always.yaml"
    always.write_text(NOBODY)
    always.chmod(0o644)
    dom0.start()
    with recording(work):
        qubesdb.await_mic("work", attached=False)
        qubesdb.attach_mic("work")
        qubesdb.await_mic("work", attached=False)
    assert (
        "dom0:mic of work: no grant was written: 'work' would not get capture allow: "
        f"{always}:3 comes before " in dom0.log
    )


def test_what_was_attached_is_not_when_the_qube_runs_again(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, machine: LocalMachine
) -> None:
    dom0 = new_dom0(NOBODY)
    dom0.start()
    work = Guest(machine, "work")
    dom0.await_event("device_made", domid=work.domid)
    attach(qubesdb, work)
    work.destroy()
    dom0.await_event("grant_revoked", guest="work")
    qubesdb.qube_starts("work")
    again = Guest(machine, "work")
    dom0.await_event("device_made", domid=again.domid)
    with recording(again):
        qubesdb.await_mic("work", attached=False)
    again.destroy()


def test_what_was_attached_is_not_when_the_qube_ran_again_without_an_agent(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, machine: LocalMachine
) -> None:
    dom0 = new_dom0(NOBODY)
    dom0.start()
    work = Guest(machine, "work")
    dom0.await_event("device_made", domid=work.domid)
    attach(qubesdb, work)
    dom0.kill()
    work.destroy()
    qubesdb.qube_starts("work")
    again = Guest(machine, "work")
    dom0.start()
    with recording(again):
        qubesdb.await_mic("work", attached=False)
    assert "work" not in grants_of(dom0)
    again.destroy()


@pytest.mark.parametrize(("policy", "was_attached"), [(NOBODY, False), (EVERYBODY, True)])
def test_what_is_done_in_qubes_without_an_agent_holds_with_the_next(
    new_dom0: Callable[[str], Dom0],
    qubesdb: QubesDbDaemon,
    work: Guest,
    policy: str,
    was_attached: bool,
) -> None:
    dom0 = new_dom0(policy)
    dom0.start()
    with recording(work) as running:
        qubesdb.await_mic("work", attached=was_attached)
        assert eventually(lambda: qubesdb.mic_of("work")[2] == "1")
        dom0.kill()
        if was_attached:
            qubesdb.detach_mic("work")
        else:
            qubesdb.attach_mic("work")
        dom0.start()
        qubesdb.await_mic("work", attached=not was_attached)
        assert falls_silent(running) if was_attached else goes_live(running)


def test_policy_changed_without_an_agent_holds_with_the_next(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    dom0 = new_dom0(EVERYBODY)
    dom0.start()
    with recording(work):
        qubesdb.await_mic("work", attached=True)
        dom0.stop()
        dom0.write_policy(NOBODY)
        dom0.start()
        qubesdb.await_mic("work", attached=False)


def test_nobody_records_while_qubesdb_is_gone(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    dom0 = new_dom0(EVERYBODY)
    dom0.start()
    with recording(work) as running:
        assert goes_live(running)
        qubesdb.stop()
        assert falls_silent(running)
        dom0.await_event("qubesdb_lost")
        decision = dom0.await_event("decision", guest="work", decision="deny")
        assert decision["XENSND_REASON"] == "QubesDB does not answer"
        qubesdb.start()
        assert goes_live(running)
        dom0.await_event("qubesdb_found")


def test_nobody_records_where_qubesdb_never_was(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    qubesdb.stop()
    dom0 = new_dom0(EVERYBODY)
    dom0.start()
    lost = dom0.await_event("qubesdb_lost")
    with recording(work) as running:
        assert stays_silent(running)
    assert lost["MESSAGE"] == (
        f"QubesDB {qubesdb.path}: No such file or directory; capture is denied"
    )
    qubesdb.start()


def test_nobody_records_where_qubesdb_may_not_be_written(
    new_dom0: Callable[[str], Dom0], qubesdb: QubesDbDaemon, work: Guest
) -> None:
    qubesdb.is_read_only = True
    dom0 = new_dom0(EVERYBODY)
    dom0.start()
    with recording(work) as running:
        lost = dom0.await_event("qubesdb_lost")
        assert stays_silent(running)
    assert "QubesDB refuses to write /audio-input-request/work" in lost["MESSAGE"]
