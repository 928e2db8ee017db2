"""One change to the user's file: only what was asked, all else octet for octet, and it must hold.

A change is made to the text, loaded as if it were written, compared with what was meant, and only
then written. So no edit makes a policy bad, and none is written that another rule overrides. A
change for a time goes into the grants instead, by the same steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from policy.edit import atomic, grants, rewrite
from policy.edit.conflicts import Reach, Standing, Subject, Wish, limits_of, standing
from policy.language import files
from policy.language.identities import NAMES_ALONE, Identities
from policy.language.loader import GRANTS_FILE, load
from policy.matching import complaint, yaml_text
from policy.model import Direction, Options, Policy, Rule, Verb
from xensnd.errors import PolicyError, UsageError
from xensnd.text import escaped, quoted

USER_FILE = "30-user.yaml"


@dataclass(frozen=True, slots=True)
class Edit:
    """What holds after an edit."""

    rule: Rule  # decides for all that the guest, a name or a glob, matches
    exceptions: tuple[Rule, ...]  # but these are asked first, and say otherwise
    revoked: tuple[Rule, ...]  # the grants that it took away


@dataclass(frozen=True, slots=True)
class Setting:
    """Where policy is, and what time it is."""

    directories: Sequence[Path]
    runtime: Path | None = None  # the directory of temporary grants
    identities: Identities = NAMES_ALONE
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def load(self, instead: Mapping[Path, bytes]) -> Policy:
        return load(self.directories, instead, runtime=self.runtime)


def set_verb(
    directories: Sequence[Path],
    guest: str,
    direction: Direction,
    verb: Verb,
    *,
    runtime: Path | None = None,
    identities: Identities = NAMES_ALONE,
    now: datetime | None = None,
) -> Edit:
    """Make `guest` get this verb for good: no older grant holds against it.

    PolicyError: the policy is bad already. UsageError: refused.
    """
    setting = Setting(directories, runtime, identities, now or datetime.now(UTC))
    wish = Wish(_subject(guest, identities), direction, verb)
    path = _writable(setting) / USER_FILE
    try:
        with atomic.locked(path), grants.locked(runtime) as there_are_grants:
            return _edit(
                setting if there_are_grants else replace(setting, runtime=None), path, wish
            )
    except OSError as error:
        raise UsageError(f"{escaped(path)}: {error.strerror}; nothing was changed") from None


def grant(
    setting: Setting,
    guest: str,
    direction: Direction,
    verb: Verb,
    ends: datetime,
    once: bool = False,
) -> Edit:
    """Make `guest` get this verb until a time, or until one stream has used it up.

    PolicyError: the policy is bad already. UsageError: refused.
    """
    wish = Wish(_subject(guest, setting.identities), direction, verb, for_good=False)
    if setting.runtime is None:
        raise UsageError("no directory for temporary grants; name one with --runtime")
    if ends <= setting.now:
        raise UsageError("that time has passed; nothing was changed")
    path = setting.runtime / GRANTS_FILE
    try:
        if not files.is_there(setting.runtime):
            _grant(setting, path, wish, ends, once, write=False)  # refuses before it is made
            grants.make_directory(setting.runtime)
        with grants.locked(setting.runtime):
            return _grant(setting, path, wish, ends, once)
    except OSError as error:
        raise UsageError(f"{escaped(path)}: {error.strerror}; nothing was changed") from None


def _subject(guest: str, identities: Identities) -> Subject:
    if wrong := complaint(guest):
        raise UsageError(f"guest {quoted(guest)} {wrong}")
    return Subject.of(guest, identities)


_Said = dict[str, str]  # what a rule says, wherever it stands


@dataclass(frozen=True, slots=True)
class _Change:
    text: str
    said: list[_Said]  # by each rule of the new text, if the change is the one meant


def _grant(
    setting: Setting, path: Path, wish: Wish, ends: datetime, once: bool, write: bool = True
) -> Edit:
    before = setting.load({})
    limits = limits_of(before, wish.subject, wish.direction)
    old = grants.read(setting.runtime)
    kept = grants.revised(old, wish, setting.now, setting.identities)
    new = replace(grants.new(wish, path.parent, limits, setting.now, ends), once=once)
    octets = grants.written([new, *kept])
    after = _checked(setting, {path: octets}, path, [rule.said for rule in (new, *kept)])
    outcome = standing(after, wish, setting.now)
    if outcome.rule is None:
        raise _overridden(outcome, wish, GRANTS_FILE)
    if write:
        atomic.replace(path, octets)
    return Edit(outcome.rule, outcome.exceptions, _revoked(old, [*kept, new], setting.now))


def _edit(setting: Setting, path: Path, wish: Wish) -> Edit:
    """The first change after which the wish holds is written. Called with the locks held."""
    if path.is_symlink():
        message = f"{escaped(path)}: a link; edit what it points to by hand"
        raise UsageError(f"{message}, or put a file in its place")
    octets = files.read(path) if path.exists() else None
    before = setting.load({} if octets is None else {path: octets})
    limits = limits_of(before, wish.subject, wish.direction)
    old, kept = _grants_after(setting, wish, limits)
    instead: dict[Path, bytes] = {}
    if setting.runtime is not None and [rule.said for rule in old] != [rule.said for rule in kept]:
        instead = {setting.runtime / GRANTS_FILE: grants.written(kept)}
    text = None if octets is None else files.decoded(octets, path)
    outcome = Standing(None, None, ())
    for change in _changes(text, before, path, wish, limits, setting.now):
        new_octets = change.text.encode()
        after = _checked(setting, instead | {path: new_octets}, path, change.said)
        outcome = standing(after, wish, setting.now)
        if _fulfilled(outcome, wish, path) and outcome.rule is not None:
            _write(instead, path, new_octets, octets)
            revoked = _revoked(old, kept, setting.now)
            return Edit(outcome.rule, outcome.exceptions, revoked)
    raise _overridden(outcome, wish, USER_FILE)


def _grants_after(
    setting: Setting, wish: Wish, limits: Options
) -> tuple[Sequence[Rule], list[Rule]]:
    """The grants before and after. One that is also about others stays, below its opposite."""
    old = grants.read(setting.runtime)
    kept = grants.revised(old, wish, setting.now, setting.identities)
    against = grants.opposing(kept, wish)
    if against and setting.runtime is not None:
        ends = max(rule.ends or setting.now for rule in against)
        kept.insert(0, grants.new(wish, setting.runtime, limits, setting.now, ends))
    return old, kept


def _fulfilled(outcome: Standing, wish: Wish, path: Path) -> bool:
    """For one guest, no rule of the user's own that might be about it stands in the way."""
    in_the_way = wish.subject.is_one and any(rule.file == path for rule in outcome.exceptions)
    return outcome.rule is not None and not in_the_way


def _write(instead: Mapping[Path, bytes], path: Path, new: bytes, old: bytes | None) -> None:
    """Grants first: should the second fail, less is granted, not more."""
    for grants_path, octets in instead.items():
        atomic.replace(grants_path, octets)
    if new == old:
        return
    try:
        atomic.replace(path, new)
    except OSError as error:
        if not instead:
            raise
        message = f"{escaped(path)}: {error.strerror}; only the grants were taken away"
        raise UsageError(message) from None


def _revoked(old: Sequence[Rule], new: Sequence[Rule], now: datetime) -> tuple[Rule, ...]:
    left = [rule.said for rule in new]
    return tuple(rule for rule in old if not rule.is_over(now) and rule.said not in left)


def _changes(
    text: str | None, before: Policy, path: Path, wish: Wish, limits: Options, now: datetime
) -> Iterator[_Change]:
    """The changes to try: at the guest's own rule or below all, then above what overrides it."""
    new_rule = _said_by_new_rule(wish, limits)
    if text is None:
        yield _Change(rewrite.new_file(new_rule), [new_rule])
        return
    document = rewrite.Document.of(text, path)
    rules = [rule for rule in before.rules if rule.file == path]
    own = _own_rule(rules, wish, limits)
    if own is None:
        yield _added(document, rules, len(rules), new_rule)
    else:
        said = [rule.said for rule in rules]
        said[own][wish.direction] = wish.verb
        yield _Change(document.with_verb(own, wish.direction, wish.verb), said)
    for index, rule in enumerate(rules):
        if _is_in_the_way(rule, wish, now):
            yield _added(document, rules, index, new_rule)
            return


def _own_rule(rules: Sequence[Rule], wish: Wish, limits: Options) -> int | None:
    """The index of the rule for exactly this guest; one that speaks of the direction, if any.

    One that is silent about it must carry the limits that hold already: it lends its own.
    """
    own = [
        index
        for index, rule in enumerate(rules)
        if rule.guest == wish.subject.guest and rule.is_for_good
    ]
    speaking = [index for index in own if rules[index].verb(wish.direction) is not None]
    silent = [index for index in own if rules[index].options == limits and limits.device is None]
    return next(iter(speaking + silent), None)


def _is_in_the_way(rule: Rule, wish: Wish, now: datetime) -> bool:
    if rule.is_over(now) or rule.verb(wish.direction) in (None, wish.verb):
        return False
    reach = wish.subject.reached_by(rule.guest)
    return reach is Reach.ALL or (reach is Reach.SOME and wish.subject.is_one)


def _added(
    document: rewrite.Document, rules: Sequence[Rule], index: int, new_rule: _Said
) -> _Change:
    said = [rule.said for rule in rules]
    said.insert(index, new_rule)
    return _Change(document.with_rule(index, new_rule), said)


def _said_by_new_rule(wish: Wish, limits: Options) -> _Said:
    return {"guest": yaml_text(wish.subject.guest), wish.direction: wish.verb} | limits.said


def _checked(
    setting: Setting, instead: Mapping[Path, bytes], path: Path, said: list[_Said]
) -> Policy:
    """The policy as it would be. Refused if it would be bad, or other than was meant."""
    by_hand = "edit it by hand"
    try:
        after = setting.load(instead)
    except PolicyError as problem:
        raise UsageError(f"the edit would make the policy bad ({problem}); {by_hand}") from None
    if [rule.said for rule in after.rules if rule.file == path] != said:
        message = f"{escaped(path)}: its layout does not bear the edit"
        raise UsageError(f"{message}; {by_hand}")
    return after


def _overridden(outcome: Standing, wish: Wish, file: str) -> UsageError:
    rule = outcome.overriding or next(iter(outcome.exceptions))
    return UsageError(
        f"{quoted(wish.subject.guest)} would not get {wish.direction} {wish.verb}: {rule.source} "
        f"is asked before {file} and says {{{rule.text}}}; change that rule by hand"
    )


def _writable(setting: Setting) -> Path:
    """The first directory that we may write."""
    for directory in setting.directories:
        if os.access(directory, os.W_OK | os.X_OK):
            return directory
    setting.load({})  # says what is missing or bad, if that is why
    names = ", ".join(map(escaped, setting.directories))
    raise UsageError(f"{names}: no permission to write; run this as root")
