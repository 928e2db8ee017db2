"""A person's session in a machine with systemd, and the PulseAudio that it starts."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from tests.xen.dom0 import READY_SECONDS, Pulse
from tests.xen.images import PERSON, PERSON_UID, SINK
from tests.xen.lab import wait_until
from tests.xen.remote import Machine, Process

RUNTIME = f"/run/user/{PERSON_UID}"


class Session(Machine):
    """`with Session(dom0) as alice:` commands run as her, in her session."""

    def __init__(self, machine: Machine) -> None:
        self.name = f"{PERSON} in {machine.name}"
        self._machine = machine

    def open(self) -> None:
        """Without a seat: as somebody who has logged in over a network."""
        self._machine.do("loginctl", "enable-linger", PERSON)
        wait_until(
            lambda: self.run("systemctl", "--user", "is-active", "default.target").status == 0,
            READY_SECONDS,
            lambda: f"no session: {self.run('systemctl', '--user', 'status').output}",
        )

    def start(
        self, *argv: str, stdin: bytes | None = b"", env: Mapping[str, str] | None = None
    ) -> Process:
        as_person = ("runuser", "-u", PERSON, "--", "env", f"--chdir=/home/{PERSON}")
        own = (f"HOME=/home/{PERSON}", f"XDG_RUNTIME_DIR={RUNTIME}")
        bus = f"DBUS_SESSION_BUS_ADDRESS=unix:path={RUNTIME}/bus"
        return self._machine.start(*as_person, *own, bus, *argv, stdin=stdin, env=env)


class SessionPulse(Pulse):
    """The session's own service, with the lab's sink."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, f"{RUNTIME}/pulse")
        self._session = session

    def start(self) -> None:
        """It starts when somebody calls, and ends when nobody has for a while."""
        wait_until(
            lambda: SINK in self.pactl("list", "short", "sinks"),
            READY_SECONDS,
            lambda: self._session.run("systemctl", "--user", "status", "pulseaudio").output,
        )

    def stop(self) -> None:
        self._session.do("systemctl", "--user", "stop", "pulseaudio.service")

    def signal(self, signum: signal.Signals) -> None:
        self._session.do("systemctl", "--user", "kill", f"--signal={signum}", "pulseaudio.service")
