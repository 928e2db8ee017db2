"""One change to the user's file: only what was asked, all else octet for octet, and it must hold.

A change is made to the text, loaded as if it were written, compared with what was meant, and only
then written. So no edit makes a policy bad, and none is written that another rule overrides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from policy import atomic, files, splice
from policy.engine import covering_rule, exceptions
from policy.guests import complaint
from policy.loader import load
from policy.model import Direction, Policy, Rule, Verb
from policy.places import shown, shown_path
from xensnd.errors import PolicyError, UsageError

USER_FILE = "30-user.yaml"


@dataclass(frozen=True, slots=True)
class Edit:
    """What holds after an edit."""

    rule: Rule  # decides for all that the guest, a name or a glob, matches
    exceptions: tuple[Rule, ...]  # but these are asked first, and say otherwise


def set_verb(directories: Sequence[Path], guest: str, direction: Direction, verb: Verb) -> Edit:
    """Make `guest` get this verb. PolicyError: the policy is bad already. UsageError: refused."""
    if wrong := complaint(guest):
        raise UsageError(f"guest {shown(guest)} {wrong}")
    path = _writable(directories) / USER_FILE
    try:
        with atomic.locked(path):
            return _edit(directories, path, _Wish(guest, direction, verb))
    except OSError as error:
        raise UsageError(f"{shown_path(path)}: {error.strerror}; nothing was changed") from None


@dataclass(frozen=True, slots=True)
class _Wish:
    guest: str
    direction: Direction
    verb: Verb

    def holds(self, policy: Policy) -> bool:
        rule = covering_rule(policy, self.guest, self.direction)
        return rule is not None and rule.verb(self.direction) is self.verb


_Said = dict[str, str | None]  # what a rule says, wherever it stands


@dataclass(frozen=True, slots=True)
class _Change:
    text: str
    said: list[_Said]  # by each rule of the new text, if the change is the one meant


def _edit(directories: Sequence[Path], path: Path, wish: _Wish) -> Edit:
    """The first change after which the wish holds is written. Called with the lock held."""
    if path.is_symlink():
        message = f"{shown_path(path)}: a link; edit what it points to by hand"
        raise UsageError(f"{message}, or put a file in its place")
    octets = files.read(path) if path.exists() else None
    before = load(directories, {} if octets is None else {path: octets})
    text = None if octets is None else files.decoded(octets, path)
    for change in _changes(text, before, path, wish):
        new_octets = change.text.encode()
        after = _checked(directories, path, new_octets, change)
        if wish.holds(after):
            if new_octets != octets:
                atomic.replace(path, new_octets)
            return _outcome(after, wish)
    raise _overridden(before, wish)


def _changes(text: str | None, before: Policy, path: Path, wish: _Wish) -> Iterator[_Change]:
    """The changes to try: at the guest's own rule or below all, then above what overrides it."""
    if text is None:
        new = splice.new_file(wish.guest, wish.direction, wish.verb)
        yield _Change(new, [_said_by_new_rule(wish)])
        return
    document = splice.Document.of(text, path)
    rules = [rule for rule in before.rules if rule.file == path]
    own = _own_rule(rules, wish)
    if own is None:
        yield _added(document, rules, len(rules), wish)
    else:
        said = [_said(rule) for rule in rules]
        said[own][wish.direction] = wish.verb
        yield _Change(document.with_verb(own, wish.direction, wish.verb), said)
    overriding = covering_rule(before, wish.guest, wish.direction)
    if overriding in rules:
        yield _added(document, rules, rules.index(overriding), wish)


def _own_rule(rules: Sequence[Rule], wish: _Wish) -> int | None:
    """The index of the rule for exactly this guest; one that speaks of the direction, if any."""
    own = [index for index, rule in enumerate(rules) if rule.guest == wish.guest]
    speaking = [index for index in own if rules[index].verb(wish.direction) is not None]
    return next(iter(speaking + own), None)


def _added(document: splice.Document, rules: Sequence[Rule], index: int, wish: _Wish) -> _Change:
    said = [_said(rule) for rule in rules]
    said.insert(index, _said_by_new_rule(wish))
    return _Change(document.with_rule(index, wish.guest, wish.direction, wish.verb), said)


def _said(rule: Rule) -> _Said:
    return {"guest": rule.guest} | {direction: rule.verb(direction) for direction in Direction}


def _said_by_new_rule(wish: _Wish) -> _Said:
    silent: _Said = dict.fromkeys(Direction)
    return {"guest": wish.guest} | silent | {wish.direction: wish.verb}


def _checked(directories: Sequence[Path], path: Path, octets: bytes, change: _Change) -> Policy:
    """The policy as it would be. Refused if it would be bad, or other than was meant."""
    by_hand = "edit it by hand"
    try:
        after = load(directories, {path: octets})
    except PolicyError as problem:
        raise UsageError(f"the edit would make the policy bad ({problem}); {by_hand}") from None
    if [_said(rule) for rule in after.rules if rule.file == path] != change.said:
        message = f"{shown_path(path)}: its layout does not bear the edit"
        raise UsageError(f"{message}; {by_hand}")
    return after


def _outcome(policy: Policy, wish: _Wish) -> Edit:
    rule = covering_rule(policy, wish.guest, wish.direction)
    assert rule is not None  # noqa: S101 - the wish holds
    return Edit(rule, exceptions(policy, wish.guest, wish.direction))


def _overridden(policy: Policy, wish: _Wish) -> UsageError:
    rule = covering_rule(policy, wish.guest, wish.direction)
    assert rule is not None  # noqa: S101 - something overrides the wish
    return UsageError(
        f"{shown(wish.guest)} would not get {wish.direction} {wish.verb}: {rule.source} is asked "
        f"before {USER_FILE} and says {{{rule.text}}}; change that rule by hand"
    )


def _writable(directories: Sequence[Path]) -> Path:
    """The first directory that we may write."""
    for directory in directories:
        if os.access(directory, os.W_OK | os.X_OK):
            return directory
    load(directories)  # says what is missing or bad, if that is why
    names = ", ".join(map(shown_path, directories))
    raise UsageError(f"{names}: no permission to write; run this as root")
