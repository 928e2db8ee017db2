"""Rules, policies and decisions as plain data. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from policy.matching import GuestIdentity, quote
from policy.options import NO_OPTIONS, OnDeny, Options
from policy.text.values import write_datetime
from xensnd.sndif.store_fields import Direction
from xensnd.text import escaped

__all__ = [
    "NO_OPTIONS",
    "Decision",
    "Direction",
    "GuestIdentity",
    "OnDeny",
    "Options",
    "Policy",
    "Rule",
    "Verb",
    "join_fields",
]


class Verb(StrEnum):
    """What a rule says about a direction."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Rule:
    """One item of `rules:` and its location. A direction that it does not name is None."""

    guest: str  # a pattern: a name, a glob, or a prefix such as tag:
    playback: Verb | None
    capture: Verb | None
    file: Path
    line: int  # of the rule's first key, from 1
    column: int  # from 1
    options: Options = NO_OPTIONS
    starts: datetime | None = None  # `from`
    ends: datetime | None = None  # `until`, or `from` plus `for`; no longer active at this time
    once: bool = False  # for one stream: the first that it decides about
    taken_by: str | None = None  # that stream

    def verb(self, direction: Direction) -> Verb | None:
        return self.playback if direction is Direction.PLAYBACK else self.capture

    def is_active_at(self, now: datetime) -> bool:
        return (self.starts is None or self.starts <= now) and not self.has_ended_at(now)

    def has_ended_at(self, now: datetime) -> bool:
        return self.ends is not None and self.ends <= now

    @property
    def is_permanent(self) -> bool:
        return self.starts is None and self.ends is None and not self.once

    @property
    def conditions(self) -> dict[str, str]:
        """Key and value, as in a file, of the limits and times: all but the guest and verbs."""
        fields = self.options.fields
        if self.starts is not None:
            fields["from"] = write_datetime(self.starts)
        if self.ends is not None:
            fields["until"] = write_datetime(self.ends)
        if self.once:
            fields["once"] = "true"
        if self.taken_by is not None:
            fields["taken-by"] = quote(self.taken_by)
        return fields

    @property
    def fields(self) -> dict[str, str]:
        """Key and value of the whole rule, as in a file."""
        verbs = {str(each): str(verb) for each in Direction if (verb := self.verb(each))}
        return {"guest": quote(self.guest)} | verbs | self.conditions

    @property
    def text(self) -> str:
        """The rule on one line, as it could stand between braces in a file."""
        return join_fields(self.fields)

    @property
    def source(self) -> str:
        """FILE:LINE."""
        return f"{escaped(self.file)}:{self.line}"


def join_fields(fields: Mapping[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in fields.items())


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity, so cheap as a cache key
class Policy:
    """The rules of all files, in the order in which they are checked."""

    rules: tuple[Rule, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The verb for one guest and direction, and the rule that decides."""

    verb: Verb
    rule: Rule | None  # None: no rule applies, so the verb is deny
    reason: str

    @property
    def source(self) -> str:
        """FILE:LINE of the rule that decides, or "no rule"."""
        return self.rule.source if self.rule else "no rule"

    @property
    def options(self) -> Options:
        """The limits of the rule that decides."""
        return self.rule.options if self.rule else NO_OPTIONS

    @property
    def must_be_taken(self) -> bool:
        """The rule is for one stream, which must claim it first: grants.take()."""
        return self.rule is not None and self.rule.once and self.rule.taken_by is None
