"""The sound of a Qubes guest in a guest of the lab: qubes_sound.c, with Xen's own libxenvchan."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

from tests.support.cache import run
from tests.xen.detached import Detached
from tests.xen.lab import XenGuest, wait_until

PULSEAUDIO, PIPEWIRE = HABITS = ("pulseaudio", "pipewire")
PORTS = (4713, 4714)
PROGRAM = "/usr/local/bin/qubes-sound"
SAID_SECONDS = 20
SECOND_OCTETS = 44100 * 4
# An emulated guest may be late with its second ringful. Meanwhile the agent queues what it may.
LEAD_IN = bytes(SECOND_OCTETS)

_LIBRARIES = (
    *("xenvchan", "xenstore", "xengnttab", "xenevtchn", "xenctrl", "xencall"),
    *("xenforeignmemory", "xendevicemodel", "xentoolcore", "xentoollog"),
)
_GROWS = """n=$(stat -c %s "$1")
until [ $(($(stat -c %s "$1") - n)) -ge $2 ]; do sleep 0.1; done
"""


def build_program(directory: Path) -> Path:
    """With all libraries in it: guests' images have not all of them."""
    built = directory / "qubes-sound"
    source = Path(__file__).with_name("qubes_sound.c")
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-D__XEN_TOOLS__", "-Wall", "-Wextra", "-Werror"]
    libraries = [f"-l{each}" for each in _LIBRARIES]
    run("gcc", *flags, "-O2", "-static", "-s", "-o", str(built), str(source), *libraries)
    return built


def install_program(guest: XenGuest, built: Path) -> None:
    """With the driver by which libvchan asks the hypervisor whether a channel is bound."""
    guest.write_file(PROGRAM, built.read_bytes())
    guest.do("sh", "-c", f"chmod 755 {PROGRAM} && modprobe xen-privcmd unrestricted=1")


class QubesSound:
    """`with QubesSound(guest, PIPEWIRE) as sound:` a sound server of these habits, that offers its
    vchans to the audio domain `audio_domid`. It goes on when the guest is paused or saved."""

    _count = 0

    def __init__(self, guest: XenGuest, habits: str, audio_domid: int = 0) -> None:
        QubesSound._count += 1
        self._guest = guest
        self._directory = f"/tmp/sound-{QubesSound._count}"
        self._played = f"{self._directory}/played"
        self._process = Detached(guest, PROGRAM, habits, self._directory, str(audio_domid))

    def __enter__(self) -> Self:
        self._guest.do("mkdir", self._directory)
        self._process.__enter__()
        self.await_said("offered")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__()

    def do(self, *commands: str) -> None:
        """What its applications do, or what befalls it: see qubes_sound.c."""
        lines = "\n".join(commands)
        self._guest.do("sh", "-c", 'echo "$1" >"$2/commands"', "-", lines, self._directory)

    def play(self, octets: bytes) -> None:
        """After a second of silence, and in place of what it plays."""
        self.load(octets)
        self.play_loaded()

    def load(self, octets: bytes) -> None:
        self._guest.write_file(self._played, LEAD_IN + octets)

    def play_loaded(self) -> None:
        self.do(f"play {self._played}", "uncork")

    @property
    def said(self) -> str:
        """What has happened, a line each."""
        return self._process.output.decode()

    def times(self, line: str) -> int:
        """How often it has said this."""
        return self.said.splitlines().count(line)

    @property
    def recorded(self) -> bytes:
        """Of all its recordings up to now."""
        return self._guest.read_file(f"{self._directory}/recorded")

    def await_said(self, what: str, times: int = 1, ports: tuple[int, ...] = PORTS) -> None:
        """Until it has said this of each port, so often."""
        lines = [f"{what} {port}" for port in ports]
        wait_until(
            lambda: all(self.times(line) >= times for line in lines),
            SAID_SECONDS,
            lambda: f"not {times} x {lines}: {self.said}{self._process.errors}",
        )

    def await_connected(self, times: int = 1) -> None:
        self.await_said("connected", times)

    def await_recorded(self, octets: int) -> bytes:
        """What is recorded when it is so much more than now."""
        path = f"{self._directory}/recorded"
        try:
            self._guest.do("sh", "-c", _GROWS, "-", path, str(octets), seconds=SAID_SECONDS)
        except (TimeoutError, subprocess.CalledProcessError) as error:
            raise TimeoutError(f"no {octets} octets: {self.said}{self._process.errors}") from error
        return self.recorded
