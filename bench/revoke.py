"""`python -m bench.revoke`: from `xensnd-policy deny-capture` returning to silence in the guest.

Beside it, in the same run, what a mixer takes: `pactl set-source-output-mute` returning, until a
bare recorder of the audio server hears silence. Nothing is asserted; 50 ms are wanted.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.agents import BIN, Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import PulseServer, noise

WANTED_MS = 50.0
SETTLE_SECONDS = 0.3  # of sound, before each denial
PATIENCE_SECONDS = 5.0
QUIET = bytes(64)


class Hearing:
    """What a command that records says on standard output: since when it is silent, or sounds."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._changed = threading.Condition()
        self._is_silent = True
        self._since_ns = 0
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.terminate()
            self._thread.join()

    def await_sound(self) -> None:
        self._await(is_silent=False)

    def await_silence(self) -> int:
        """When it began, in ns of the monotonic clock."""
        self._await(is_silent=True)
        return self._since_ns

    def _await(self, *, is_silent: bool) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_silent is is_silent, PATIENCE_SECONDS):
                raise TimeoutError("it stays as it is; was the command refused?")

    def _hear(self) -> None:
        assert self._process.stdout is not None
        while octets := os.read(self._process.stdout.fileno(), 1 << 16):
            now_ns = time.monotonic_ns()
            is_silent = octets.endswith(QUIET)
            with self._changed:
                if is_silent is not self._is_silent:
                    self._is_silent, self._since_ns = is_silent, now_ns
                    self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds from the command's return; below zero: it was silent before."""

    each: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.each)

    @property
    def worst(self) -> float:
        return max(self.each)


def measure(
    hearing: Hearing, rounds: int, allow: Callable[[], None], deny: Callable[[], None]
) -> Took:
    took = []
    for _ in range(rounds):
        allow()
        hearing.await_sound()
        time.sleep(SETTLE_SECONDS + random.uniform(0, 0.05))  # noqa: S311 - anywhere in a period
        deny()
        returned_ns = time.monotonic_ns()
        took.append((hearing.await_silence() - returned_ns) / 1e6)
    return Took(took)


def bench_agent(machine: LocalMachine, dom0: Dom0, rounds: int) -> tuple[Took, Took]:
    """In the guest's buffer, and out of xensnd-guest."""

    def policy(command: str, guest: str) -> Callable[[], None]:
        arguments = [f"--policy={dom0.policy_directory}", f"--runtime={dom0.runtime_directory}"]
        said = [str(BIN / "xensnd-policy"), *arguments, command, guest]
        return lambda: subprocess.run(
            said, check=True, stdout=subprocess.DEVNULL
        ).check_returncode()

    took = []
    for name, command in (
        ("piecewise", [sys.executable, "-m", "bench.recorder", machine.url]),
        ("work", [str(BIN / "xensnd-guest"), f"--transport={machine.url}"]),
    ):
        guest = Guest(machine, name)
        dom0.await_event("device_made", guest=name)
        rest = (
            [name] if name == "piecewise" else [f"--domain={name}", "record", "-", "--seconds=600"]
        )
        with Hearing([*command, *rest]) as hearing:
            allow, deny = policy("allow-capture", name), policy("deny-capture", name)
            took.append(measure(hearing, rounds, allow, deny))
        guest.destroy()
    return took[0], took[1]


def bench_mixer(pulse: PulseServer, rounds: int) -> Took:
    command = ["parec", "--raw", "--latency-msec=20", "--device=microphone"]
    with Hearing([*command, "--client-name=bare"], pulse.environment) as hearing:
        hearing.await_sound()
        with pulse.mixer() as mixer:
            (mine,) = [
                each.index
                for each in mixer.source_output_list()
                if each.proplist.get("application.name") == "bare"
            ]

        def mute(value: str) -> Callable[[], None]:
            said = [
                "pactl",
                f"--server={pulse.address}",
                "set-source-output-mute",
                str(mine),
                value,
            ]
            return lambda: subprocess.run(said, check=True).check_returncode()

        return measure(hearing, rounds, mute("0"), mute("1"))


def row(name: str, took: Took) -> str:
    return f"{name:48}{took.median:10.1f}{took.worst:10.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.revoke", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory(prefix="xensnd-bench-") as name:
        directory = Path(name)
        with (
            PulseServer(directory / "pulse") as pulse,
            LocalMachine(directory / "xen") as machine,
            Dom0(directory / "dom0", machine.url, pulse.address) as dom0,
            pulse.microphone(noise(150)),
        ):
            buffer, command = bench_agent(machine, dom0, rounds)
            bare = bench_mixer(pulse, rounds)
    print(f"{f'deny-capture to silence, ms, {rounds} times':48}{'median':>10}{'worst':>10}")
    print(row("in the guest's buffer", buffer))
    print(row("out of xensnd-guest, 25 ms at a time", command))
    print(row("bare recorder, muted with pactl", bare))
    print(
        f"{'':3}{buffer.worst / WANTED_MS:.2f} x the {WANTED_MS:.0f} ms wanted at worst; "
        f"median beside the mixer: {buffer.median - bare.median:+.1f} ms"
    )


if __name__ == "__main__":
    main()
