"""The language of policy files: reads the YAML tree of one file into rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from policy.language import fields
from policy.language.fields import Reader
from policy.model import Direction, Options, Rule, Verb
from policy.options import KEYS, Key
from policy.text import values
from policy.text.nodes import Node
from xensnd.text import quoted

MAX_RULES = 10_000  # in one file
MAX_ITEMS = 32  # in one list

_VERBS = tuple(str(verb) for verb in Verb)
_VERBS_IN_WORDS = "allow, deny or ask"
_YES = frozenset(("yes", "true", "on", "y"))
_NO = frozenset(("no", "false", "off", "n"))


def read_rules(root: Node | None, file: Path, are_grants: bool = False) -> tuple[Rule, ...]:
    """The rules of one file. Raises PolicyError for the first mistake."""

    def read_list(key: str, node: Node) -> tuple[Rule, ...]:
        return fields.read_items(key, node, partial(_read_rule, are_grants=are_grants), MAX_RULES)

    rules: tuple[Rule, ...] = fields.read_document("policy", root, file, "rules", read_list)
    return rules


def _read_rule(node: Node, are_grants: bool) -> Rule:
    found = fields.read_mapping("a rule", node, RULE_READERS)
    if "guest" not in found:
        raise node.start.error("guest is missing", "write guest: NAME, or guest: '*' for all")
    if not found.keys() & set(Direction):
        hint = f"add playback: or capture: with {_VERBS_IN_WORDS}"
        raise node.start.error("the rule names no direction", hint)
    if "device" in found and found.keys() >= set(Direction):
        message = "device is a sink or a source, but the rule names both playback and capture"
        raise fields.node_of(node, "device").start.error(message, "write two rules")
    _check_monitor(node, found)
    starts, ends = _read_times(node, found)
    _check_grant(node, found, are_grants, ends)
    return Rule(
        guest=found["guest"],
        playback=found.get("playback"),
        capture=found.get("capture"),
        file=node.start.file,
        line=node.start.line,
        column=node.start.column,
        options=Options(**{key.field: found[key.name] for key in KEYS if key.name in found}),
        starts=starts,
        ends=ends,
        once=found.get("once", False),
        taken_by=found.get("taken-by"),
    )


def _check_grant(
    node: Node, found: Mapping[str, Any], are_grants: bool, ends: datetime | None
) -> None:
    if are_grants and ends is None:
        raise node.start.error("a grant needs an end", "add until:, or remove the grant")
    if "once" in found and not are_grants:
        message = "once is allowed in temporary grants only"
        hint = "remove it, and use xensnd-policy allow-capture GUEST --once"
        raise fields.node_of(node, "once").start.error(message, hint)
    if "taken-by" in found and not found.get("once"):
        message = "taken-by is allowed with once: true only"
        raise fields.node_of(node, "taken-by").start.error(message, "remove it")


def _read_times(node: Node, found: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return when the rule becomes active and when it ends: from, and until or for."""
    starts: datetime | None = found.get("from")
    ends: datetime | None = None
    if "until" in found:
        until = fields.node_of(node, "until")
        read = partial(values.read_datetime, start=starts)
        ends = fields.read_value("until", until, read)
        if starts is not None and ends <= starts:
            message = f"until: {fields.describe(until)} is not after from"
            raise until.start.error(message, "write a later time")
    if "for" in found:
        duration = fields.node_of(node, "for")
        if "until" in found:
            raise duration.start.error("until and for both set the end", "remove one")
        if starts is None:
            hint = "add from:, or write until: instead, or use xensnd-policy with --for"
            raise duration.start.error("for needs from: as its start", hint)
        try:
            ends = values.add_duration(starts, found["for"])
        except values.InvalidValue as problem:
            raise duration.start.error(f"for: {problem}", problem.hint) from None
    return starts, ends


def _check_monitor(node: Node, found: Mapping[str, Any]) -> None:
    """A monitor gives what others play: it is allowed by name and by word, and only to record."""
    is_monitor = str(found.get("device", "")).endswith(".monitor")
    if "monitor" in found:
        if not is_monitor:
            message = "monitor: allow is for a device that is a monitor"
            hint = "add device: NAME.monitor, or remove it"
            raise fields.node_of(node, "monitor").start.error(message, hint)
        if Direction.PLAYBACK in found:
            message = "a monitor is a source, but the rule names playback"
            raise fields.node_of(node, "monitor").start.error(message, "write two rules")
    elif is_monitor:
        text = quoted(found["device"])
        raise fields.node_of(node, "device").start.error(
            f"device: {text} is a monitor, which would let the guest hear what other guests play",
            "name a microphone; 'pactl list short sources' shows them",
        )


def _read_verb(key: str, node: Node) -> Verb:
    hint = f"write {_VERBS_IN_WORDS}"
    text = fields.read_text(key, node, hint)
    if text in _VERBS:
        return Verb(text)
    lower = text.lower()
    hint = fields.did_you_mean(text, _VERBS) or hint
    if lower in _YES | _NO:
        hint = f"write {Verb.ALLOW if lower in _YES else Verb.DENY}"
    raise node.start.error(f"{key}: {quoted(text)} is not {_VERBS_IN_WORDS}", hint)


def _option_reader(key: Key) -> Reader:
    if key.is_list:
        return partial(fields.read_values, read=key.read, most=MAX_ITEMS)
    return partial(fields.read_value, read=key.read)


def _read_boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise values.InvalidValue("is not true or false", "write true")
    return text == "true"


RULE_READERS: Mapping[str, Reader] = {
    "guest": partial(
        fields.read_pattern, hint="write a name, or a glob in quotes such as 'work-*'"
    ),
    **dict.fromkeys(map(str, Direction), _read_verb),
    **{key.name: _option_reader(key) for key in KEYS},
    "from": partial(fields.read_value, read=values.read_datetime),
    "until": partial(fields.read_text, hint="write such as 2026-11-20T18:00"),
    "for": partial(fields.read_value, read=values.read_duration),
    "once": partial(fields.read_value, read=_read_boolean),
    "taken-by": partial(fields.read_value, read=values.read_stream),
}
"""The keys that a rule may have, in the order in which messages list them."""
