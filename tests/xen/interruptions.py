"""What befalls a guest's time: it is paused, saved and goes on, or saved and restored."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.xen.lab import XenGuest
from tests.xen.remote import Machine

CHECKPOINT = "/run/checkpoint"
PAUSE_SECONDS = 3.0

Interruption = Callable[[Machine, XenGuest], None]


def pause(_dom0: Machine, guest: XenGuest) -> None:
    guest.xl("pause")
    time.sleep(PAUSE_SECONDS)
    guest.xl("unpause")


def save_and_go_on(dom0: Machine, guest: XenGuest) -> None:
    """The suspend is cancelled, as the guest sees it."""
    dom0.do("xl", "save", "-c", guest.name, CHECKPOINT, seconds=120)
    dom0.do("rm", CHECKPOINT)


def save_and_restore(dom0: Machine, guest: XenGuest) -> None:
    guest.xl("save", CHECKPOINT, seconds=120)
    restore(dom0, guest)


def restore(dom0: Machine, guest: XenGuest) -> None:
    dom0.do("xl", "restore", CHECKPOINT, seconds=120)
    guest.find()
    guest.await_up()
    dom0.do("rm", CHECKPOINT)  # it is as large as the guest, and dom0's disk is its memory
