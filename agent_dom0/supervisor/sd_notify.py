"""Notifies systemd about the service: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import time


class ServiceManager:
    """Sends nothing if systemd did not start the service."""

    def __init__(self) -> None:
        self._listens = "NOTIFY_SOCKET" in os.environ
        self._status = ""
        self.watchdog_seconds = _watchdog_seconds()
        """How often systemd expects a sign of life; None: it does not."""

    def ready(self) -> None:
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that a reload begins; it lasts until ready()."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self, status: str) -> None:
        if status == self._status:
            self._tell("WATCHDOG=1")
        else:
            self._tell("WATCHDOG=1", f"STATUS={status}")
        self._status = status

    def _tell(self, *assignments: str) -> None:
        if self._listens:
            from systemd import daemon  # noqa: PLC0415  (not wanted elsewhere)

            daemon.notify("\n".join(assignments))


def _watchdog_seconds() -> float | None:
    usec = os.environ.get("WATCHDOG_USEC", "")
    is_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(usec) / 1e6 if usec.isascii() and usec.isdigit() and is_for_us else None
