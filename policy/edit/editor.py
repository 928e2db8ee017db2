"""Edits: one change to the user's file, or one temporary grant.

A change is made to the text in memory, loaded as if it were written, and compared with what was
meant; only then is it written. So an edit never makes the policy bad, and an edit that another rule
would override is refused. Nothing else in the file changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from policy.edit import atomic, grants, rewrite
from policy.edit.conflicts import (
    EditRequest,
    Outcome,
    Overlap,
    Subject,
    outcome_of,
    permanent_limits,
)
from policy.language import files
from policy.language.identities import NAMES_ALONE, Identities
from policy.language.loader import load
from policy.matching import find_mistake, quote
from policy.model import Direction, Options, Policy, Rule, Verb
from policy.paths import GRANTS_FILE, USER_FILE, PolicyPaths
from xensnd.errors import PolicyError, UsageError
from xensnd.text import escaped, quoted


@dataclass(frozen=True, slots=True)
class Edit:
    """The result of an edit."""

    rule: Rule  # now decides for every guest that the pattern matches
    exceptions: tuple[Rule, ...]  # but these come before it, with another verb
    revoked: tuple[Rule, ...]  # the grants that the edit removed


@dataclass(frozen=True, slots=True)
class EditContext:
    """Where policy is, what is known of guests, and what time it is."""

    paths: PolicyPaths
    identities: Identities = NAMES_ALONE
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def load(self, instead: Mapping[Path, bytes]) -> Policy:
        return load(self.paths.directories, instead, runtime=self.paths.runtime)


def set_verb(context: EditContext, guest: str, direction: Direction, verb: Verb) -> Edit:
    """Give the guest this verb permanently. Grants that oppose it are removed.

    Raises PolicyError if the policy is bad already, UsageError if the edit is refused.
    """
    request = EditRequest(_subject(guest, context.identities), direction, verb)
    path = _writable_directory(context) / USER_FILE
    runtime = context.paths.runtime
    try:
        with atomic.locked(path), grants.locked(runtime) as has_grants:
            if not has_grants:
                context = replace(context, paths=replace(context.paths, runtime=None))
            return _edit(context, path, request)
    except OSError as error:
        raise UsageError(f"{escaped(path)}: {error.strerror}; nothing was changed") from None


def grant(
    context: EditContext,
    guest: str,
    direction: Direction,
    verb: Verb,
    ends: datetime,
    once: bool = False,
) -> Edit:
    """Give the guest this verb until a time, or until one stream has used it.

    Raises PolicyError if the policy is bad already, UsageError if the edit is refused.
    """
    request = EditRequest(_subject(guest, context.identities), direction, verb, permanent=False)
    runtime = context.paths.runtime
    if runtime is None:
        raise UsageError("no directory for temporary grants; name one with --runtime")
    if ends <= context.now:
        raise UsageError("that time has passed; nothing was changed")
    path = runtime / GRANTS_FILE
    try:
        if not files.exists(runtime):
            _grant(context, path, request, ends, once, write=False)  # may refuse: make nothing yet
            grants.make_directory(runtime)
        with grants.locked(runtime):
            return _grant(context, path, request, ends, once)
    except OSError as error:
        raise UsageError(f"{escaped(path)}: {error.strerror}; nothing was changed") from None


def _subject(guest: str, identities: Identities) -> Subject:
    if mistake := find_mistake(guest):
        raise UsageError(f"guest {quoted(guest)} {mistake}")
    return Subject.of(guest, identities)


_Fields = dict[str, str]  # key and value of a rule, as Rule.fields


@dataclass(frozen=True, slots=True)
class _Change:
    text: str
    expected: list[_Fields]  # of each rule of the new text, if it is what was meant


def _grant(
    context: EditContext,
    path: Path,
    request: EditRequest,
    ends: datetime,
    once: bool,
    write: bool = True,
) -> Edit:
    before = context.load({})
    limits = permanent_limits(before, request.subject, request.direction)
    old = grants.read(context.paths.runtime)
    kept = grants.without_replaced(old, request, context.now, context.identities)
    new = replace(grants.new_grant(request, path.parent, limits, context.now, ends), once=once)
    octets = grants.to_octets([new, *kept])
    after = _load_checked(context, {path: octets}, path, [rule.fields for rule in (new, *kept)])
    outcome = outcome_of(after, request, context.now)
    if outcome.rule is None:
        raise _overridden(outcome, request, GRANTS_FILE)
    if write:
        atomic.replace(path, octets)
    return Edit(outcome.rule, outcome.exceptions, _revoked(old, [*kept, new], context.now))


def _edit(context: EditContext, path: Path, request: EditRequest) -> Edit:
    """Writes the first change that takes effect. The locks must be held."""
    if path.is_symlink():
        message = f"{escaped(path)}: a link; edit the file it points to by hand"
        raise UsageError(f"{message}, or replace the link with a file")
    octets = files.read(path) if path.exists() else None
    before = context.load({} if octets is None else {path: octets})
    limits = permanent_limits(before, request.subject, request.direction)
    old, kept = _grants_after(context, request, limits)
    instead: dict[Path, bytes] = {}
    runtime = context.paths.runtime
    if runtime is not None and [rule.fields for rule in old] != [rule.fields for rule in kept]:
        instead = {runtime / GRANTS_FILE: grants.to_octets(kept)}
    text = None if octets is None else files.decode(octets, path)
    outcome = Outcome(None, None, ())
    for change in _possible_changes(text, before, path, request, limits, context.now):
        new_octets = change.text.encode()
        after = _load_checked(context, instead | {path: new_octets}, path, change.expected)
        outcome = outcome_of(after, request, context.now)
        if _is_fulfilled(outcome, request, path) and outcome.rule is not None:
            _write(instead, path, new_octets, octets)
            revoked = _revoked(old, kept, context.now)
            return Edit(outcome.rule, outcome.exceptions, revoked)
    raise _overridden(outcome, request, USER_FILE)


def _grants_after(
    context: EditContext, request: EditRequest, limits: Options
) -> tuple[Sequence[Rule], list[Rule]]:
    """The grants before and after the edit.

    An opposing grant that is also about other guests stays. A new grant above it, with the same
    end, gives the requested verb.
    """
    runtime = context.paths.runtime
    old = grants.read(runtime)
    kept = grants.without_replaced(old, request, context.now, context.identities)
    against = grants.opposing(kept, request)
    if against and runtime is not None:
        ends = max(rule.ends or context.now for rule in against)
        kept.insert(0, grants.new_grant(request, runtime, limits, context.now, ends))
    return old, kept


def _is_fulfilled(outcome: Outcome, request: EditRequest, path: Path) -> bool:
    """The request takes effect. For one guest, the user's own file must make no exception."""
    is_blocked = request.subject.is_one and any(rule.file == path for rule in outcome.exceptions)
    return outcome.rule is not None and not is_blocked


def _write(instead: Mapping[Path, bytes], path: Path, new: bytes, old: bytes | None) -> None:
    """Writes the grants first: if the second write fails, less is granted, not more."""
    for grants_path, octets in instead.items():
        atomic.replace(grants_path, octets)
    if new == old:
        return
    try:
        atomic.replace(path, new)
    except OSError as error:
        if not instead:
            raise
        message = f"{escaped(path)}: {error.strerror}; only grants were revoked"
        raise UsageError(message) from None


def _revoked(old: Sequence[Rule], new: Sequence[Rule], now: datetime) -> tuple[Rule, ...]:
    left = [rule.fields for rule in new]
    return tuple(rule for rule in old if not rule.has_ended_at(now) and rule.fields not in left)


def _possible_changes(
    text: str | None,
    before: Policy,
    path: Path,
    request: EditRequest,
    limits: Options,
    now: datetime,
) -> Iterator[_Change]:
    """The changes to try, in order.

    First the guest's own rule is changed, or a rule is added at the end. Then a rule is added above
    the first rule that would override it.
    """
    new_rule = _fields_of_new_rule(request, limits)
    if text is None:
        yield _Change(rewrite.new_file(new_rule), [new_rule])
        return
    document = rewrite.Document.of(text, path)
    rules = [rule for rule in before.rules if rule.file == path]
    own = _own_rule(rules, request, limits)
    if own is None:
        yield _insertion(document, rules, len(rules), new_rule)
    else:
        expected = [rule.fields for rule in rules]
        expected[own][request.direction] = request.verb
        yield _Change(document.with_verb(own, request.direction, request.verb), expected)
    for index, rule in enumerate(rules):
        if _overrides(rule, request, now):
            yield _insertion(document, rules, index, new_rule)
            return


def _own_rule(rules: Sequence[Rule], request: EditRequest, limits: Options) -> int | None:
    """The index of the permanent rule with exactly this pattern; None if none can be changed.

    A rule that names the direction is preferred. Another one would apply its limits to the new
    verb, so it must have the limits that apply already.
    """
    own = [
        index
        for index, rule in enumerate(rules)
        if rule.guest == request.subject.guest and rule.is_permanent
    ]
    naming = [index for index in own if rules[index].verb(request.direction) is not None]
    same_limits = [
        index for index in own if rules[index].options == limits and limits.device is None
    ]
    return next(iter(naming + same_limits), None)


def _overrides(rule: Rule, request: EditRequest, now: datetime) -> bool:
    """Return whether the rule would override a new rule below it. For one guest, "perhaps"
    counts."""
    if rule.has_ended_at(now) or rule.verb(request.direction) in (None, request.verb):
        return False
    overlap = request.subject.overlap_with(rule.guest)
    return overlap is Overlap.ALL or (overlap is Overlap.SOME and request.subject.is_one)


def _insertion(
    document: rewrite.Document, rules: Sequence[Rule], index: int, new_rule: _Fields
) -> _Change:
    expected = [rule.fields for rule in rules]
    expected.insert(index, new_rule)
    return _Change(document.with_rule(index, new_rule), expected)


def _fields_of_new_rule(request: EditRequest, limits: Options) -> _Fields:
    return {"guest": quote(request.subject.guest), request.direction: request.verb} | limits.fields


def _load_checked(
    context: EditContext, instead: Mapping[Path, bytes], path: Path, expected: list[_Fields]
) -> Policy:
    """The policy after the edit. Raises UsageError if it would be bad, or not what was meant."""
    by_hand = "edit it by hand"
    try:
        after = context.load(instead)
    except PolicyError as problem:
        raise UsageError(f"the edit would make the policy bad ({problem}); {by_hand}") from None
    if [rule.fields for rule in after.rules if rule.file == path] != expected:
        message = f"{escaped(path)}: this file's layout cannot be edited automatically"
        raise UsageError(f"{message}; {by_hand}")
    return after


def _overridden(outcome: Outcome, request: EditRequest, file: str) -> UsageError:
    rule = outcome.overriding or next(iter(outcome.exceptions))
    return UsageError(
        f"{quoted(request.subject.guest)} would not get {request.direction} {request.verb}: "
        f"{rule.source} comes before {file} and says {{{rule.text}}}; change that rule by hand"
    )


def _writable_directory(context: EditContext) -> Path:
    """The first policy directory that we may write to."""
    for directory in context.paths.directories:
        if os.access(directory, os.W_OK | os.X_OK):
            return directory
    context.load({})  # raises PolicyError if a directory is missing or bad
    names = ", ".join(map(escaped, context.paths.directories))
    raise UsageError(f"{names}: no permission to write; run this as root")
