"""The commands that read and change policy files: allow-capture to ask-playback, list, explain,
check, diff and schema. Each takes the parsed options and returns the exit status."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from policy.cli import status
from policy.cli.compare import changes, conditions, names_in
from policy.cli.program import BAD_POLICY, GOOD, fail
from policy.cli.terminal import GREEN, RED, YELLOW, has_colours, painted
from policy.edit.editor import EditContext, grant, set_verb
from policy.engine import Role, explain
from policy.language import identities, platform
from policy.language.loader import load, problems
from policy.matching import GuestIdentity, Kind, find_mistake, split_kind
from policy.model import Decision, Direction, Policy, Rule, Verb, join_fields
from policy.paths import TAGS_FILE, PolicyPaths
from policy.text import values
from xensnd.errors import PolicyError, UsageError
from xensnd.text import escaped, quoted

ONCE_WITHIN = timedelta(days=1)  # a grant with --once that nobody uses ends after this

_COLOURS: Mapping[str, str] = {Verb.ALLOW: GREEN, Verb.DENY: RED, Verb.ASK: YELLOW}


def edit(options: argparse.Namespace) -> int:
    context = _edit_context(options)
    ends = _end_of(options, context.now)
    if ends is None:
        done = set_verb(context, options.guest, options.direction, options.verb)
    else:
        done = grant(context, options.guest, options.direction, options.verb, ends, options.once)
    print(_result(options.guest, done.rule, options.direction))
    for rule in done.exceptions:
        print(f"  except {_result(rule.guest, rule, options.direction)}")
    for rule in done.revoked:
        print(f"  grant revoked: {rule.text}")
    return GOOD


def show_list(options: argparse.Namespace) -> int:
    rules = load(options.paths.directories, runtime=options.paths.runtime).rules
    now = datetime.now(UTC)
    rows = [("GUEST", *(each.upper() for each in Direction), "CONDITIONS", "RULE")]
    rows += [_row(rule, now) for rule in rules]
    if not any(row[3] for row in rows[1:]):
        rows = [(*row[:3], row[4]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _, *rest = map(_painted, row, widths)
        print("  ".join([row[0].ljust(widths[0]), *rest]).rstrip())
    return GOOD


def check(options: argparse.Namespace) -> int:
    paths: PolicyPaths = options.paths
    found = [*problems(paths.directories, runtime=paths.runtime)]
    try:
        _identities(options)
    except PolicyError as problem:
        found.append(str(problem))
    for problem_text in found:
        fail(BAD_POLICY, problem_text)
    if found:
        return BAD_POLICY
    policy = load(paths.directories, runtime=paths.runtime)
    print(f"good: {_count(policy.rules, 'rule')} in {_count(policy.files, 'file')}")
    for file in policy.files:
        print(f"  {escaped(file)}")
    for remark in _remarks(policy, paths):
        print(remark)
    return GOOD


def _remarks(policy: Policy, paths: PolicyPaths) -> Iterator[str]:
    """What is good, but has another effect here than it says."""
    of_platform = (Kind.CLASS, Kind.TEMPLATE, Kind.DISPVM_OF)
    if paths.platform is not None:
        if paths.platform.exists():
            return
        why = f"{escaped(paths.platform)} is missing; start xensnd-qubes"
    else:
        why = "only Qubes OS has it"
    for rule in policy.rules:
        kind = split_kind(rule.guest)[0]
        if kind in of_platform or (paths.platform is not None and kind in (Kind.TAG, Kind.LABEL)):
            yield (
                f"{rule.source}: {rule.guest}: {kind} is not known here ({why}); "
                "while that is so, the rule denies what it does not allow, and allows nothing"
            )


def show_explanation(options: argparse.Namespace) -> int:
    guest = _guest(options)
    policy = load(options.paths.directories, runtime=options.paths.runtime)
    others = 0
    if known := guest.text:
        print(f"{guest.name}: {known}")
    for direction in [Direction(options.direction)] if options.direction else list(Direction):
        explanation = explain(policy, guest, direction)
        decision = explanation.decision
        print(f"{guest.name}: {direction} {_painted(decision.verb)} ({decision.source})")
        for rule, role in explanation.roles:
            print(f"  {rule.source}: {rule.text}")
            print(f"    {role}")
            if role in (Role.UNKNOWN_DENY, Role.UNKNOWN_ALLOW):
                print(f"    give the guest's {split_kind(rule.guest)[0]} with {_how_to_give(rule)}")
        if decision.rule is None:
            print(f"  {decision.reason}, so it is denied")
        others = len(policy.rules) - len(explanation.roles)
    print(f"{_count(range(others), 'other rule')} for other guests")
    return GOOD


def show_diff(options: argparse.Namespace) -> int:
    context = _edit_context(options)
    before = context.load({})
    after = load([options.candidate], runtime=options.paths.runtime)
    if running := [] if options.guest else _running_guests(options, context):
        guests, note = running, " (those that run; name others with --guest)"
    else:
        names = options.guest or dict.fromkeys([*names_in(before), *names_in(after)])
        guests = [context.identities.guest(_checked_name(name)) for name in names]
        note = "" if options.guest else " (those that rules name; name others with --guest)"
    found = changes(before, after, guests, context.now)
    for each in found:
        old, new = _decision(each.before), _decision(each.after)
        print(f"{each.guest.name}: {each.direction} {old} -> {new}")
    print(f"{_count(found, 'change')} for {_count(guests, 'guest')}{note}")
    return GOOD


def show_schema(options: argparse.Namespace) -> int:  # noqa: ARG001 - as all commands
    from policy.language import schema  # noqa: PLC0415 - no other command needs json

    print(schema.text(), end="")
    return GOOD


def _edit_context(options: argparse.Namespace) -> EditContext:
    return EditContext(options.paths, _identities(options))


def _identities(options: argparse.Namespace) -> identities.Identities:
    return platform.load(options.paths, options.tags)


def _guest(options: argparse.Namespace) -> GuestIdentity:
    if options.uuid is not None and (mistake := find_mistake(f"uuid:{options.uuid}")):
        raise UsageError(f"--uuid {quoted(options.uuid)} {mistake}")
    guest = _identities(options).guest(_checked_name(options.guest), options.uuid)
    given = {
        name: value
        for name in ("label", "qube_class", "template", "dispvm_of")
        if (value := getattr(options, name)) is not None
    }
    if options.tag is not None:
        guest = replace(guest, tags=frozenset(options.tag) - {""})
    return replace(guest, **given)


def _running_guests(options: argparse.Namespace, context: EditContext) -> list[GuestIdentity]:
    """The guests as the running agent knows them, since it decides with what it knows."""
    if not options.has_agent:
        return []
    guests = []
    for each in status.running_guests(options):
        guest = context.identities.guest(_checked_name(str(each.get("name"))), each.get("uuid"))
        guests.append(replace(guest, label=each["label"]) if each.get("label") else guest)
    return guests


def _checked_name(name: str) -> str:
    if not name or not name.isprintable():
        raise UsageError(f"guest {quoted(name)} {find_mistake(name)}")
    return name


def _end_of(options: argparse.Namespace, now: datetime) -> datetime | None:
    """Return when the change ends; None: never."""
    try:
        if options.length is not None:
            written, name = options.length, "--for"
            return values.add_duration(now, values.read_duration(written))
        if options.until is not None:
            written, name = options.until, "--until"
            return values.read_datetime(written, start=now)
    except values.InvalidValue as problem:
        raise UsageError(f"{name} {quoted(written)} {problem} ({problem.hint})") from None
    return now + ONCE_WITHIN if options.once else None


def _result(guest: str, rule: Rule, direction: Direction) -> str:
    """The verb with its limits and its end; it starts now."""
    also = {key: value for key, value in rule.conditions.items() if key != "from"}
    verb = rule.verb(direction)
    shown_verb = _painted(verb) if verb else "-"
    return f"{guest}: {direction} {_joined(shown_verb, join_fields(also))} ({rule.source})"


def _decision(decision: Decision) -> str:
    return f"{_joined(_painted(decision.verb), conditions(decision))} ({decision.source})"


def _row(rule: Rule, now: datetime) -> tuple[str, ...]:
    state = " (ended)" if rule.has_ended_at(now) else ""
    state = state or ("" if rule.is_active_at(now) else " (not active yet)")
    verbs = (rule.verb(direction) or "-" for direction in Direction)
    return (rule.guest, *verbs, join_fields(rule.conditions) + state, rule.source)


def _how_to_give(rule: Rule) -> str:
    kind, value = split_kind(rule.guest)
    example = f"--{kind} {'UUID' if kind is Kind.UUID else value}"
    return f"{example}, or in {TAGS_FILE}" if kind in (Kind.TAG, Kind.LABEL) else example


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _painted(text: str, width: int = 0) -> str:
    """A verb in its colour, other text without one, in at least this many columns."""
    return painted(text, _COLOURS.get(text, ""), has_colours()) + " " * (width - len(text))


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
