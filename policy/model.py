"""What a policy is: rules in the order they are asked. Plain data, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from policy.guests import quoted
from policy.places import shown_path
from xensnd.sndif.store_fields import Direction

__all__ = ["Decision", "Direction", "Policy", "Rule", "Verb"]


class Verb(StrEnum):
    """What a rule says of a direction."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """One item of `rules:`, and where it stands. A direction it is silent about is None."""

    guest: str  # a name or a glob
    playback: Verb | None
    capture: Verb | None
    file: Path
    line: int  # from 1, of the rule's first key
    column: int  # from 1

    def verb(self, direction: Direction) -> Verb | None:
        return self.playback if direction is Direction.PLAYBACK else self.capture

    @property
    def text(self) -> str:
        """The rule on one line, as one could write it between braces."""
        said = {"guest": quoted(self.guest), "playback": self.playback, "capture": self.capture}
        return ", ".join(f"{key}: {value}" for key, value in said.items() if value is not None)

    @property
    def source(self) -> str:
        return f"{shown_path(self.file)}:{self.line}"


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
