"""A guest's own PulseAudio, `xensnd-guest serve`, and applications. All outlive their connection:
see detached.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.heard import RATE_HZ, tone
from tests.xen.detached import Detached
from tests.xen.dom0 import pulse_environment, pulseaudio
from tests.xen.images import SINK
from tests.xen.lab import XenGuest, wait_until

DIRECTORY = "/run/pulse"
ADDRESS = f"unix:{DIRECTORY}/native"
READY_SECONDS = 30
TONE_FILE = "/tmp/tone"


@contextmanager
def desktop(guest: XenGuest) -> Iterator[XenGuest]:
    """A guest with an audio server."""
    guest.do("mkdir", "-p", DIRECTORY)
    environment = pulse_environment(DIRECTORY)
    # Emulated, it has no time to resample well.
    command = (*pulseaudio(DIRECTORY), "--resample-method=trivial")
    with Detached(guest, *command, env=environment) as server:
        wait_until(
            lambda: SINK in pactl(guest, "list", "short", "sinks"),
            READY_SECONDS,
            lambda: f"pulseaudio does not start: {server.errors}",
        )
        yield guest
        assert server.is_running, server.ended()


def pactl(guest: XenGuest, *arguments: str) -> str:
    return guest.run("pactl", f"--server={ADDRESS}", *arguments).output


@contextmanager
def serving(guest: XenGuest) -> Iterator[Detached]:
    # Emulated, the guest's server is late by more than the 10 ms that are the default.
    command = ("xensnd-guest", "serve", f"--server={ADDRESS}", "--latency=100")
    with Detached(guest, *command) as agent:
        wait_until(lambda: b"ready" in agent.output, READY_SECONDS, lambda: agent.errors)
        yield agent
        agent.terminate()
        ended = agent.ended()
        assert ended.status == 0, ended.errors
        assert "Traceback" not in ended.errors


def playing_tone(guest: XenGuest) -> Detached:
    """An application that plays into the default sink, without end."""
    guest.write_file(TONE_FILE, tone(1))
    play = f"while cat {TONE_FILE}; do :; done | pacat --raw --rate={RATE_HZ} --latency-msec=200"
    return Detached(guest, "sh", "-c", play, env={"PULSE_SERVER": ADDRESS})
