"""The events of the audit trail: each kind with its MESSAGE_ID, and the texts.

The ids never change; journalctl finds a kind of event by its id (`journalctl MESSAGE_ID=...`),
also when its text has changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Protocol

from policy.model import Decision, Direction


class Priority(IntEnum):
    """syslog(3)."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class EventKind(Enum):
    """The value is the MESSAGE_ID."""

    AGENT_STARTED = "558682652c5c4c1fba9d62dba04ffc79"
    AGENT_STOPPED = "9411c1c97dd14507b7c229a841488190"
    POLICY_LOADED = "6dd32d0a67bf4e73bd3fd6d21d54d4ad"
    POLICY_REJECTED = "74aec8f6e6c348e888cdd16a398ea81d"
    DEVICE_MADE = "9ea4d4d934c94080997fa3b91ca05cea"
    DEVICE_REMOVED = "e2bd742610b64c1093bda03d199b269f"
    DEVICE_CONNECTED = "a0d1eee2080e4e469c9f00cde8a6c23f"
    DEVICE_DISCONNECTED = "52919e280c3f4f31baadbaa8c3f686f8"
    DEVICE_FAILED = "b45a36f4b60c44c3825b85b82d622e08"
    GUEST_RENAMED = "a95582823e814652822a3a4d89bb6c89"
    NAME_SHARED = "ed3545d3b10a4f55a0773752387d696a"
    DIED_SERVING = "a0c26efed8c54160ba2eee9ca160fbd5"
    ENGINE_REPLACED = "421509eed30f45afaa93b31e19e93f9c"
    GUEST_QUARANTINED = "57d1a233a5394861b6e2f4292886446b"
    GUEST_RELEASED = "c3af11797ffe4113b5e01e918f9136f3"
    STREAM_OPENED = "b367ebcf49124b6e90ced332c10cef81"
    STREAM_TAKEN_OVER = "d3dd7087fd0a4f90a3ad0da5afdfd50b"
    STREAM_STARTED = "8bf82d9c972146798094a9292a30772f"
    STREAM_STOPPED = "9e144d8b5e7541f28fb7f51630723337"
    STREAM_CLOSED = "ea66e4fb46184dae9977fecb94a7e502"
    DECISION = "69e775577ac44bb18fe65e1a7d85d90b"
    GRANT_MADE = "7080cecd3f724c33ad2ef37cbbd62435"
    GRANT_EXPIRED = "8ac651e34b124cd1bd694ae1e2a8228b"
    GRANT_REVOKED = "a578e527b5b742d888d4f1b157e4798a"
    PROMPT_SHOWN = "7a39ac603d3947dca6e214c27ab31ad9"
    PROMPT_ANSWERED = "d94948a93b87462c8483cbb0f50124db"
    LIMIT_HIT = "002dfbc871da443a8f29627da1a24787"
    SOURCE_ADMITTED = "f2f555a420574eb9b39ff3f91655dcca"
    SOURCE_REFUSED = "4230ef78bf6f4f3d808d59a49ef65cd5"
    VOLUME_SET = "de9d86bd033e4663941d0c0d5b7eb7ed"
    PROTOCOL_VIOLATION = "cb64b845958d49e3a720dd07b34b7770"
    SERVER_LOST = "dc787d3392074abaa355789bbdc9818c"
    SERVER_FOUND = "a8cf6322e6124fdfbf8de395b5355dbb"
    STORE_LOST = "c6983fa88d6e4f17bdb99c5046dbbe2c"
    STORE_FOUND = "257b4baf18c04f9e9d007517857932e2"
    QUBESDB_LOST = "6e0a03ee330e4a5fb3dbca6411c16178"
    QUBESDB_FOUND = "7771c0813c8740a9ab41f3562a286793"
    MICROPHONE_ATTACHED = "120a719026ca4c6b9c6879af5f97d453"
    MICROPHONE_DETACHED = "bfda8792225e494ebeebaa7e3e404105"
    EVENTS_SUMMARISED = "a5cf9c56f0db490f9e0c57cf115fcd12"
    AUDIT_RESUMED = "32ec9c200a594b029a5a782cf456ecde"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail. `fields` go with it under these names, in upper case."""

    kind: EventKind
    text: str
    priority: Priority = Priority.INFO
    fields: dict[str, str | int] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


def late(event: Event) -> Event:
    """Return the event as it is written later than it happened."""
    when = {"XENSND_TIME": event.time.isoformat(timespec="microseconds")}
    return replace(event, fields={**event.fields, **when})


class Auditor(Protocol):
    """Writes events about one guest or stream to the audit trail."""

    def tell(
        self,
        kind: EventKind,
        text: str,
        priority: Priority = Priority.INFO,
        **fields: str | int,
    ) -> bool:
        """Return whether the event was written."""


def decision_event(guest: str, domid: int, direction: Direction, decision: Decision) -> Event:
    """Return the event for a decision, with the rule that made it."""
    fields: dict[str, str | int] = {
        "XENSND_GUEST": guest,
        "XENSND_DOMID": domid,
        "XENSND_DIRECTION": direction.value,
        "XENSND_DECISION": decision.verb.value,
        "XENSND_REASON": decision.reason,
    }
    if decision.rule is not None:
        fields["XENSND_RULE_FILE"] = str(decision.rule.file)
        fields["XENSND_RULE_LINE"] = decision.rule.line
    return Event(
        EventKind.DECISION,
        f"{guest}: {direction.value} {decision.verb.value} ({decision.source}: {decision.reason})",
        Priority.NOTICE,
        fields,
    )


def guest_event(
    kind: EventKind, guest: str, domid: int, text: str, priority: Priority = Priority.INFO
) -> Event:
    return Event(kind, f"{guest}: {text}", priority, {"XENSND_GUEST": guest, "XENSND_DOMID": domid})
