"""Audits temporary grants that are made, expire or are revoked, whoever writes the file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from agent_dom0.events import Event, EventKind, Priority
from policy.model import Policy, Rule
from policy.paths import GRANTS_FILE
from policy.text.values import write_datetime


class GrantEvents:
    """Compares the grants that hold with those that held at the last call."""

    def __init__(self) -> None:
        self._known: dict[str, Rule] | None = (
            None  # None: not called yet, so every grant is an old one
        )

    def follow(self, policy: Policy, now: datetime, ended: Collection[str]) -> Sequence[Event]:
        """Return events for the changes. `ended`: streams that have ended with their grants."""
        before = self._known
        holding = [rule for rule in policy.rules if _is_grant(rule) and not rule.has_ended_at(now)]
        self._known = {_key(rule): rule for rule in holding}
        if before is None:
            return []
        made = [
            _event(EventKind.GRANT_MADE, rule, "granted")
            for key, rule in self._known.items()
            if key not in before
        ]
        gone = [_gone(rule, now, ended) for key, rule in before.items() if key not in self._known]
        return [*gone, *made]


def _is_grant(rule: Rule) -> bool:
    return rule.file.name == GRANTS_FILE and not rule.is_permanent


def _key(rule: Rule) -> str:
    """Return a key that stays the same when a stream takes the grant."""
    fields = rule.fields
    fields.pop("taken-by", None)
    return repr(fields)


def _gone(rule: Rule, now: datetime, ended: Collection[str]) -> Event:
    if rule.has_ended_at(now):
        return _event(EventKind.GRANT_EXPIRED, rule, "its time is over")
    if rule.taken_by in ended:
        return _event(EventKind.GRANT_EXPIRED, rule, "used by one stream")
    return _event(EventKind.GRANT_REVOKED, rule, "revoked")


def _event(kind: EventKind, rule: Rule, what: str) -> Event:
    fields: dict[str, str | int] = {"XENSND_GUEST": rule.guest, "XENSND_GRANT": rule.text}
    if rule.ends is not None:
        fields["XENSND_UNTIL"] = write_datetime(rule.ends)
    return Event(kind, f"grant {{{rule.text}}}: {what}", Priority.NOTICE, fields)
