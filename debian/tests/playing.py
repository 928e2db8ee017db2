#!/usr/bin/python3
"""The installed agents play and record between domains of this machine, through a real PulseAudio.

Xen is stood in for by the source's own machine of domains, which no package holds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, os.getcwd())

from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import Ears, PulseServer, difference, noise
from tests.support.urgency import Urgency, urgent

DEFAULT_POLICY = Path("/etc/xensnd/policy.d/90-default.yaml")
LATENCY = "--latency=250"  # a machine that is shared lets processes wait for so long
RECORD_SECONDS = 4
SECOND_OCTETS = 48000 * 4


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="xensnd-") as name:
        directory = Path(name)
        policy = directory / "policy.d"
        policy.mkdir(mode=0o755)
        shutil.copy(DEFAULT_POLICY, policy)
        with (
            PulseServer(directory / "pulse") as pulse,
            LocalMachine(directory / "xen") as machine,
            started(machine, pulse, policy) as agent,
        ):
            try:
                machine.create("work")
                with pulse.listening() as ears:
                    plays(machine, ears)
                records_nothing(machine)
                print(policy_command(policy, "allow-capture", "work").strip())
                records(machine, pulse)
            finally:
                agent.terminate()


def started(machine: LocalMachine, pulse: PulseServer, policy: Path) -> subprocess.Popen[bytes]:
    command = ["xensnd-dom0", f"--transport={machine.url}", f"--server={pulse.address}"]
    command += [f"--policy={policy}", f"--audit={policy.parent}/audit.jsonl", LATENCY]
    agent = subprocess.Popen(command, stdout=subprocess.PIPE)
    urgent(agent, Urgency.SOUNDING)
    assert agent.stdout
    assert agent.stdout.readline() == b"xensnd-dom0: ready\n"
    return agent


def plays(machine: LocalMachine, ears: Ears) -> None:
    played = noise(2)
    guest(machine, "play", "-", stdin=played)
    assert ears.hears(played), difference(played, ears.heard)
    print(f"played and heard: {len(played)} octets")


def records_nothing(machine: LocalMachine) -> None:
    recorded = guest(machine, "record", "-", "--seconds=1")
    assert recorded == bytes(SECOND_OCTETS)
    print("a microphone that is not allowed: silence")


def records(machine: LocalMachine, pulse: PulseServer) -> None:
    spoken = noise(RECORD_SECONDS * 4)
    with pulse.microphone(spoken):
        recorded = guest(machine, "record", "-", f"--seconds={RECORD_SECONDS}")
    live = recorded.strip(b"\0")
    assert len(live) > SECOND_OCTETS, f"{len(live)} of {len(recorded)} octets are not silence"
    assert live in spoken, difference(live, spoken)
    print(f"spoken and recorded: {len(live)} octets")


def guest(machine: LocalMachine, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ["xensnd-guest", f"--transport={machine.url}", "--domain=work", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        urgent(process, Urgency.SOUNDING)
        said, _ = process.communicate(stdin)
    assert process.returncode == 0
    return said


def policy_command(policy: Path, *arguments: str) -> str:
    command = ["xensnd-policy", f"--policy={policy}", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"passed in {time.monotonic() - began:.1f} s")
