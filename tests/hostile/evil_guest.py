"""A guest's frontend that breaks the rules, and what the audit trail says of it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tests.support.agents import Dom0, Guest
from tests.support.local_machine import LocalMachine
from tests.support.raw_frontend import RawFrontend, RawStream


class EvilGuest(RawFrontend):
    """The frontend of `guest`, until the block ends: then as if its process had been killed."""

    def __init__(self, machine: LocalMachine, dom0: Dom0, guest: Guest) -> None:
        dom0.await_event("device_made", domid=guest.domid)
        self._dom0, self._guest = dom0, guest
        self._earlier: list[RawStream] = []  # of earlier connections
        self._violations = len(dom0.events("protocol_violation", domid=guest.domid))
        transport = machine.transport(guest.name)
        backend = f"/local/domain/0/backend/vsnd/{guest.domid}/0"
        super().__init__(transport, transport.open_store(), backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def domid(self) -> int:
        return self._guest.domid

    def offer_rings(self) -> None:
        self._earlier += self.streams
        super().offer_rings()

    def close(self) -> None:
        self.store.close()
        self.transport.close()
        self.streams += self._earlier
        self.forget_streams()

    def violation(self) -> str:
        """What the audit trail says of its first."""
        said = self._dom0.await_event(
            "protocol_violation",
            count=self._violations + 1,
            guest=self._guest.name,
            domid=self._guest.domid,
        )
        assert said["PRIORITY"] == 4
        return str(said["MESSAGE"])
