"""The agent's own life: started, told to reload, killed, started again; and its policy files."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.agents import (
    ALLOW_PLAYBACK,
    Dom0,
    Ended,
    Guest,
    assert_plays,
    neighbour_of,
    run,
)
from tests.support.pulse_server import PulseServer, noise
from tests.support.raw_frontend import eventually

PLAYED = Ended(0)
SECOND = 48000 * 4
ALLOW_ALL = 'version: 1\nrules:\n  - guest: "*"\n    playback: allow\n    capture: allow\n'


@pytest.fixture
def dom0(own_dom0: Dom0) -> Dom0:
    own_dom0.start()
    return own_dom0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_ends_at_once_though_a_guest_plays(
    dom0: Dom0, pulse: PulseServer, work: Guest, signum: int
) -> None:
    with pulse.listening() as ears, work.start("play", "-", stdin=[noise(60)]):
        ears.listen_until(lambda heard: heard.strip(b"\0"))
        began = time.monotonic()
        assert dom0.end(signum) == 0
        assert time.monotonic() - began < 3
        with pulse.mixer() as mixer:
            assert eventually(lambda: mixer.sink_input_list() == [])
    assert dom0.events()[-1]["EVENT"] == "agent_stopped"


def test_told_to_hang_up_it_reads_the_policy_again(dom0: Dom0) -> None:
    with dom0.one_more("policy_loaded"):
        dom0.hang_up()


def test_opener_that_is_killed_is_replaced_together_with_its_agent(
    dom0: Dom0, new_guest: Callable[[str], Guest]
) -> None:
    agent = dom0.agent_pid
    with dom0.one_more("agent_started"):
        os.kill(dom0.opener_pid, signal.SIGKILL)
    assert dom0.agent_pid != agent
    late = new_guest("late")
    dom0.await_event("device_made", guest=late.name)
    assert "the opener has ended; the next agent takes over with another" in dom0.log


def watched_inodes(pid: int) -> set[int]:
    """Of what this process may wait for with inotify(7), in whichever process it was asked for."""
    infos = (info.read_text() for info in Path(f"/proc/{pid}/fdinfo").iterdir())
    return {
        int(inode, 16)
        for info in infos
        for inode in re.findall(r"^inotify .*ino:(\w+)", info, re.M)
    }


def test_agent_that_is_killed_leaves_its_watches_to_the_next_one(dom0: Dom0) -> None:
    """The kernel takes long to remove them, and a process has not ended before that is done."""
    watched = dom0.policy_directory.stat().st_ino
    assert watched in watched_inodes(dom0.agent_pid)
    assert watched in watched_inodes(dom0.pid)
    with dom0.one_more("agent_started"):
        os.kill(dom0.agent_pid, signal.SIGKILL)
    dom0.use(ALLOW_ALL)


def test_agent_is_confined_in_all_its_threads_while_a_guest_plays(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    """What that means is in tests/unit/test_confine.py."""
    with pulse.listening() as ears, work.start("play", "-", stdin=[noise(10)]):
        ears.listen_until(lambda heard: heard.strip(b"\0"))
        threads = list(Path(f"/proc/{dom0.agent_pid}/task").iterdir())
        assert len(threads) >= 3
        for thread in threads:
            status = (thread / "status").read_text().splitlines()
            assert {"Seccomp:\t2", "NoNewPrivs:\t1"} <= set(status)
    assert "the agent may " not in dom0.log


@pytest.mark.sound
def test_second_agent_is_refused_and_the_first_goes_on(
    dom0: Dom0, pulse: PulseServer, work: Guest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with neighbour_of(pulse, work) as neighbour:
        second = run(
            "xensnd-dom0",
            *dom0.options,
            f"--audit={tmp_path_factory.mktemp('second') / 'audit.jsonl'}",
        )
        said = r"xensnd-dom0: another xensnd-dom0 \(process \d+\) serves domain 0 already; "
        assert re.fullmatch(said + "stop it first\n", second.stderr)
        assert (second.returncode, second.stdout) == (1, "")
        neighbour.assert_undisturbed()


@pytest.mark.sound
def test_killed_while_idle_and_started_again_it_serves_the_next_sound(
    dom0: Dom0, pulse: PulseServer, work: Guest
) -> None:
    assert work.run("play", "-", stdin=noise(0.1)) == PLAYED
    dom0.kill()
    dom0.start()
    assert_plays(work, pulse)


@pytest.mark.sound
def test_policy_edited_by_hand_is_followed_within_a_second(dom0: Dom0) -> None:
    began = datetime.now(UTC)
    loaded = len(dom0.events("policy_loaded"))
    dom0.write_policy(ALLOW_ALL)
    dom0.await_event("policy_loaded", count=loaded + 1)
    record = dom0.events("policy_loaded")[loaded]
    assert (datetime.fromisoformat(record["TIME"]) - began).total_seconds() < 1


@pytest.mark.sound
def test_bad_policy_stops_capture_until_it_is_good_again_and_keeps_playback(
    dom0: Dom0, pulse: PulseServer, work: Guest, new_guest: Callable[[str], Guest]
) -> None:
    neighbour_guest = new_guest("neighbour")
    dom0.write_policy(ALLOW_ALL)
    dom0.await_event("policy_loaded", count=2)
    spoken = noise(20)
    problem = f"{dom0.policy_file}:4:15: playback: 'alow' is not allow, deny or ask"
    with (
        pulse.microphone(spoken),
        neighbour_of(pulse, neighbour_guest) as neighbour,
        work.start("record", "-", "--seconds=20") as recording,
    ):
        recording.listen_until(lambda heard: len(heard.lstrip(b"\0")) > SECOND / 4)
        dom0.write_policy(ALLOW_ALL.replace("playback: allow", "playback: alow"))
        rejected = dom0.await_event("policy_rejected")
        assert rejected["XENSND_PROBLEM"].startswith(problem)
        denied = dom0.await_event("decision", domid=work.domid, decision="deny")
        assert denied["XENSND_REASON"] == f"bad policy: {rejected['XENSND_PROBLEM']}"
        arrived = len(recording.heard)
        heard = recording.listen_until(lambda heard: len(heard) > arrived + SECOND)
        assert len(heard) > arrived + SECOND
        assert not heard[arrived + SECOND // 2 :].strip(b"\0")
        neighbour.assert_undisturbed()

        dom0.write_policy(ALLOW_ALL)
        dom0.await_event("decision", domid=work.domid, decision="allow", count=2)
        silent = len(recording.heard)
        assert recording.listen_until(lambda heard: heard[silent:].strip(b"\0"), 2)[silent:].strip(
            b"\0"
        )
        neighbour.assert_undisturbed()
    (line,) = {line for line in dom0.log.splitlines() if problem in line and "work" not in line}
    said = "capture is denied, playback follows the last good policy"
    assert line == f"xensnd-dom0: {rejected['XENSND_PROBLEM']}; {said}"


def test_policy_directory_that_is_missing_at_the_start_denies_all_until_it_is_there(
    own_dom0: Dom0, work: Guest
) -> None:
    directory = own_dom0.policy_directory
    own_dom0.policy_file.unlink()
    directory.rmdir()
    own_dom0.start()
    rejected = own_dom0.await_event("policy_rejected")
    assert rejected["MESSAGE"] == (
        f"{directory}: no such policy directory (create it, or name another with --policy); "
        "capture is denied, playback follows the last good policy"
    )
    assert own_dom0.events("device_made") == []
    directory.mkdir(mode=0o755)
    own_dom0.write_policy(ALLOW_PLAYBACK)
    own_dom0.await_event("device_made", domid=work.domid)
    assert work.run("play", "-", stdin=noise(0.1)) == PLAYED


def test_policy_directory_that_is_taken_away_and_comes_back_is_followed(
    dom0: Dom0, work: Guest
) -> None:
    directory = dom0.policy_directory
    directory.rename(directory.with_name("away"))
    dom0.await_event("policy_rejected")
    directory.with_name("away").rename(directory)
    dom0.await_event("policy_loaded", count=2)
    dom0.write_policy(ALLOW_ALL)
    dom0.await_event("policy_loaded", count=3)
    assert work.run("play", "-", stdin=noise(0.1)) == PLAYED


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "--transport=local:/nowhere",
            "no stand-in serves /nowhere: No such file or directory "
            "(start it with: xensnd-localxen /nowhere serve)",
        ),
        (
            "--transport=nowhere",
            "transport 'nowhere': known are local:DIR, xen:; did you mean local:nowhere?",
        ),
        (
            "--audit=/nowhere/audit",
            "--audit /nowhere/audit: No such file or directory; give a file that can be written",
        ),
    ],
)
def test_what_it_cannot_start_with_is_said_on_one_line(
    own_dom0: Dom0, option: str, said: str
) -> None:
    ended = run("xensnd-dom0", *own_dom0.options, option)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"xensnd-dom0: {said}\n")
