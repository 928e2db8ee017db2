"""What each command of xensnd-policy does. Each takes its options and gives the exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from policy.cli import status
from policy.cli.compare import changes, effect, names_in
from policy.cli.terminal import GREEN, RED, YELLOW, has_colours, painted
from policy.edit.editor import Setting, grant, set_verb
from policy.engine import Part, explain
from policy.language import identities
from policy.language.loader import load, problems
from policy.matching import Guest, complaint, kind_of
from policy.model import Decision, Direction, Rule, Verb
from policy.text import values
from xensnd.errors import PolicyError, UsageError
from xensnd.text import escaped, quoted

PROGRAM = "xensnd-policy"
GOOD, BAD_POLICY, REFUSED, NO_AGENT = 0, 1, 2, 3
ONCE_WITHIN = timedelta(days=1)  # a grant that nobody uses does not wait for ever

_COLOURS: Mapping[str, str] = {Verb.ALLOW: GREEN, Verb.DENY: RED, Verb.ASK: YELLOW}


def edit(options: argparse.Namespace) -> int:
    setting, direction, verb = _setting(options), options.direction, options.verb
    ends = _ends(options, setting.now)
    if ends is None:
        done = set_verb(
            setting.directories, options.guest, direction, verb,
            runtime=setting.runtime, identities=setting.identities, now=setting.now,
        )  # fmt: skip
    else:
        done = grant(setting, options.guest, direction, verb, ends, options.once)
    print(_said(options.guest, done.rule, direction))
    for rule in done.exceptions:
        print(f"  except {_said(rule.guest, rule, direction)}")
    for rule in done.revoked:
        print(f"  grant taken away: {rule.text}")
    return GOOD


def show_list(options: argparse.Namespace) -> int:
    rules = load(options.policy, runtime=options.runtime).rules
    now = datetime.now(UTC)
    rows = [("GUEST", *(each.upper() for each in Direction), "ALSO", "RULE")]
    rows += [_row(rule, now) for rule in rules]
    if not any(row[3] for row in rows[1:]):
        rows = [(*row[:3], row[4]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _, *rest = map(_painted, row, widths)
        print("  ".join([row[0].ljust(widths[0]), *rest]).rstrip())
    return GOOD


def check(options: argparse.Namespace) -> int:
    found = [*problems(options.policy, runtime=options.runtime)]
    try:
        _identities(options)
    except PolicyError as problem:
        found.append(str(problem))
    for problem_text in found:
        fail(BAD_POLICY, problem_text)
    if found:
        return BAD_POLICY
    policy = load(options.policy, runtime=options.runtime)
    print(f"good: {_count(policy.rules, 'rule')} in {_count(policy.files, 'file')}")
    for file in policy.files:
        print(f"  {escaped(file)}")
    return GOOD


def show_explanation(options: argparse.Namespace) -> int:
    guest = _guest(options)
    policy = load(options.policy, runtime=options.runtime)
    others = 0
    for direction in [Direction(options.direction)] if options.direction else list(Direction):
        explanation = explain(policy, guest, direction)
        decision = explanation.decision
        verb = _painted(decision.verb)
        print(f"{guest.name}: {direction} {verb} ({decision.source})")
        for rule, part in explanation.parts:
            print(f"  {rule.source}: {rule.text}")
            print(f"    {part}")
            if part in (Part.DENIES, Part.UNKNOWN):
                print(f"    its {kind_of(rule.guest)[0]} can be given: {_how_to_give(rule)}")
        if decision.rule is None:
            print(f"  {decision.reason}, so it is denied")
        others = len(policy.rules) - len(explanation.parts)
    print(f"{_count(range(others), 'other rule')} for other guests")
    return GOOD


def show_diff(options: argparse.Namespace) -> int:
    setting = _setting(options)
    before = setting.load({})
    after = load([options.candidate], runtime=options.runtime)
    if running := [] if options.guest else _running(options, setting):
        guests, note = running, ", those that run; others with --guest"
    else:
        names = options.guest or dict.fromkeys([*names_in(before), *names_in(after)])
        guests = [setting.identities.guest(_checked_name(name)) for name in names]
        note = "" if options.guest else ", those that rules name; others with --guest"
    found = changes(before, after, guests, setting.now)
    for each in found:
        print(
            f"{each.guest.name}: {each.direction} {_effect(each.before)} -> {_effect(each.after)}"
        )
    print(f"{_count(found, 'change')} for {_count(guests, 'guest')}{note}")
    return GOOD


def show_schema(options: argparse.Namespace) -> int:  # noqa: ARG001 - as all commands
    from policy.language import schema  # noqa: PLC0415 - nothing else needs json

    print(schema.text(), end="")
    return GOOD


def fail(status: int, message: object) -> int:
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    return status


def _setting(options: argparse.Namespace) -> Setting:
    return Setting(options.policy, options.runtime, _identities(options))


def _identities(options: argparse.Namespace) -> identities.Identities:
    if options.tags is not None:
        return identities.load(options.tags, may_be_missing=False)
    beside: Path = options.policy[0].absolute().parent
    return identities.load(beside / identities.TAGS_FILE)


def _guest(options: argparse.Namespace) -> Guest:
    if options.uuid is not None and (wrong := complaint(f"uuid:{options.uuid}")):
        raise UsageError(f"--uuid {quoted(options.uuid)} {wrong}")
    guest = _identities(options).guest(_checked_name(options.guest), options.uuid)
    if options.label is not None:
        guest = replace(guest, label=options.label)
    if options.tag is not None:
        guest = replace(guest, tags=frozenset(options.tag) - {""})
    return guest


def _running(options: argparse.Namespace, setting: Setting) -> list[Guest]:
    """What the agent knows of its guests is what it decides by."""
    if not options.has_agent:
        return []
    guests = []
    for each in status.running_guests(options):
        guest = setting.identities.guest(_checked_name(str(each.get("name"))), each.get("uuid"))
        guests.append(replace(guest, label=each["label"]) if each.get("label") else guest)
    return guests


def _checked_name(name: str) -> str:
    if not name or not name.isprintable():
        raise UsageError(f"guest {quoted(name)} {complaint(name)}")
    return name


def _ends(options: argparse.Namespace, now: datetime) -> datetime | None:
    """When the verb is to end; None: never."""
    try:
        if options.length is not None:
            written, name = options.length, "--for"
            return values.after(now, values.read_duration(written))
        if options.until is not None:
            written, name = options.until, "--until"
            return values.read_moment(written, start=now)
    except values.NotAValue as problem:
        raise UsageError(f"{name} {quoted(written)} {problem} ({problem.hint})") from None
    return now + ONCE_WITHIN if options.once else None


def _said(guest: str, rule: Rule, direction: Direction) -> str:
    """What holds, and what goes with it; from when is plain: from now."""
    conditions = {key: value for key, value in rule.conditions.items() if key != "from"}
    also = "".join(f", {key}: {value}" for key, value in conditions.items())
    verb = rule.verb(direction)
    return f"{guest}: {direction} {_painted(verb) if verb else '-'}{also} ({rule.source})"


def _effect(decision: Decision) -> str:
    also = effect(decision).removeprefix(decision.verb)
    return f"{_painted(decision.verb)}{also} ({decision.source})"


def _row(rule: Rule, now: datetime) -> tuple[str, ...]:
    also = ", ".join(f"{key}: {value}" for key, value in rule.conditions.items())
    state = " (over)" if rule.is_over(now) else "" if rule.holds_at(now) else " (not yet)"
    verbs = (rule.verb(direction) or "-" for direction in Direction)
    return (rule.guest, *verbs, also + state, rule.source)


def _how_to_give(rule: Rule) -> str:
    kind, value = kind_of(rule.guest)
    example = {"uuid": "--uuid UUID", "label": f"--label {value}", "tag": f"--tag {value}"}[kind]
    return example if kind == "uuid" else f"{example}, or in {identities.TAGS_FILE}"


def _painted(verb: str, width: int = 0) -> str:
    """A verb, or a word in its place, in at least this many columns."""
    text = painted(verb, _COLOURS.get(verb, ""), has_colours())
    return text + " " * (width - len(verb))


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
