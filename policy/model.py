"""What a policy is: rules in the order they are asked. Plain data, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from policy.matching import Guest, yaml_text
from policy.options import NO_OPTIONS, OnDeny, Options
from policy.text.values import write_moment
from xensnd.sndif.store_fields import Direction
from xensnd.text import escaped

__all__ = [
    "NO_OPTIONS",
    "Decision",
    "Direction",
    "Guest",
    "OnDeny",
    "Options",
    "Policy",
    "Rule",
    "Verb",
]


class Verb(StrEnum):
    """What a rule says of a direction."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Rule:
    """One item of `rules:`, and where it stands. A direction it is silent about is None."""

    guest: str  # a name, a glob, uuid:, tag: or label:
    playback: Verb | None
    capture: Verb | None
    file: Path
    line: int  # from 1, of the rule's first key
    column: int  # from 1
    options: Options = NO_OPTIONS
    starts: datetime | None = None  # `from`
    ends: datetime | None = None  # `until`, or `from` and `for`; it holds no more then
    once: bool = False  # for one stream, the first that it decides about
    taken_by: str | None = None  # the stream which that was

    def verb(self, direction: Direction) -> Verb | None:
        return self.playback if direction is Direction.PLAYBACK else self.capture

    def holds_at(self, now: datetime) -> bool:
        return (self.starts is None or self.starts <= now) and not self.is_over(now)

    def is_over(self, now: datetime) -> bool:
        return self.ends is not None and self.ends <= now

    @property
    def is_for_good(self) -> bool:
        return self.starts is None and self.ends is None and not self.once

    @property
    def conditions(self) -> dict[str, str]:
        """Key and value of all that goes with the verbs, as a file has them."""
        said = self.options.said
        if self.starts is not None:
            said["from"] = write_moment(self.starts)
        if self.ends is not None:
            said["until"] = write_moment(self.ends)
        if self.once:
            said["once"] = "true"
        if self.taken_by is not None:
            said["taken-by"] = yaml_text(self.taken_by)
        return said

    @property
    def said(self) -> dict[str, str]:
        """Key and value of all that it says, as a file has them."""
        verbs = {str(each): str(verb) for each in Direction if (verb := self.verb(each))}
        return {"guest": yaml_text(self.guest)} | verbs | self.conditions

    @property
    def text(self) -> str:
        """The rule on one line, as one could write it between braces."""
        return ", ".join(f"{key}: {value}" for key, value in self.said.items())

    @property
    def source(self) -> str:
        return f"{escaped(self.file)}:{self.line}"


@dataclass(frozen=True, slots=True, eq=False)  # equal only to itself, so cheap to look up by
class Policy:
    """Every rule of every file, in the order they are asked."""

    rules: tuple[Rule, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What holds for one guest and direction, and which rule says so."""

    verb: Verb
    rule: Rule | None  # None: no rule does, so it is denied
    reason: str

    @property
    def source(self) -> str:
        """FILE:LINE of the rule that decides, or "no rule"."""
        return self.rule.source if self.rule else "no rule"

    @property
    def options(self) -> Options:
        """The limits that go with the verb: those of the rule that decides."""
        return self.rule.options if self.rule else NO_OPTIONS

    @property
    def must_be_taken(self) -> bool:
        """It is for one stream, so the stream that asks must take it: grants.take()."""
        return self.rule is not None and self.rule.once and self.rule.taken_by is None
