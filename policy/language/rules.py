"""The language: from the tree of one file to its rules, or the first mistake and its place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from policy.language import fields
from policy.language.fields import Reader
from policy.matching import complaint
from policy.model import Direction, Options, Rule, Verb
from policy.options import KEYS, Key
from policy.text import values
from policy.text.nodes import ListNode, Node, TextNode
from policy.text.places import Place, shown

MAX_RULES = 10_000  # in one file
MAX_ITEMS = 32  # in one list

_VERBS = tuple(str(verb) for verb in Verb)
_OR = "allow, deny or ask"
_YES = frozenset(("yes", "true", "on", "y"))
_NO = frozenset(("no", "false", "off", "n"))


def rules_of(root: Node | None, file: Path, are_grants: bool = False) -> tuple[Rule, ...]:
    """The rules of one file's tree. Raises PolicyError for the first thing it must not have."""
    if root is None:
        message = "the file has no policy in it"
        raise Place(file, 1, 1, 0).error(
            message, "write 'version: 1' and 'rules: []', or remove it"
        )
    read_rules: Reader = partial(_rules, are_grants=are_grants)
    readers = {"version": fields.version, "rules": read_rules}
    top = fields.fields("a policy file", root, readers)
    if "version" not in top:
        raise root.start.error("version is missing", f"start with 'version: {fields.VERSION}'")
    if "rules" not in top:
        raise root.start.error("rules is missing", "write 'rules: []' for none")
    rules: tuple[Rule, ...] = top["rules"]
    return rules


def _rules(key: str, node: Node, are_grants: bool) -> tuple[Rule, ...]:
    if isinstance(node, TextNode) and not node.text:
        raise node.start.error(f"{key} is empty", "write 'rules: []' for none")
    if not isinstance(node, ListNode):
        raise node.start.error(
            f"{key} must be a list, got {fields.kind(node)}", "start each with '- '"
        )
    if len(node.items) > MAX_RULES:
        place = node.items[MAX_RULES].start
        raise place.error(f"more than {MAX_RULES} rules in one file", "use globs")
    return tuple(_rule(item, are_grants) for item in node.items)


def _rule(node: Node, are_grants: bool) -> Rule:
    said = fields.fields("a rule", node, RULE_READERS)
    if "guest" not in said:
        raise node.start.error("guest is missing", "write guest: NAME, or guest: '*' for all")
    if not said.keys() & set(Direction):
        raise node.start.error("the rule says nothing", f"add playback or capture: {_OR}")
    if "device" in said and said.keys() >= set(Direction):
        message = "device is a sink or a source, and the rule speaks of playback and capture"
        raise fields.node_of(node, "device").start.error(message, "make it two rules")
    _check_monitor(node, said)
    starts, ends = _times(node, said)
    if are_grants and ends is None:
        raise node.start.error("a grant needs an end", "add until, or remove the grant")
    if "once" in said and not are_grants:
        message = "once is for grants, which are used up"
        hint = "remove it, and see xensnd-policy allow-capture GUEST --once"
        raise fields.node_of(node, "once").start.error(message, hint)
    if "taken-by" in said and not said.get("once"):
        raise fields.node_of(node, "taken-by").start.error("taken-by goes with once: true")
    place = node.start
    return Rule(
        guest=said["guest"],
        playback=said.get("playback"),
        capture=said.get("capture"),
        file=place.file,
        line=place.line,
        column=place.column,
        options=Options(**{key.field: said[key.name] for key in KEYS if key.name in said}),
        starts=starts,
        ends=ends,
        once=said.get("once", False),
        taken_by=said.get("taken-by"),
    )


def _check_monitor(node: Node, said: Mapping[str, Any]) -> None:
    """A monitor gives what others play: it is allowed by name and by word, and only to record."""
    is_monitor = str(said.get("device", "")).endswith(".monitor")
    if "monitor" in said:
        if not is_monitor:
            message = "monitor: allow goes with a device that is a monitor"
            hint = "add device: NAME.monitor, or remove it"
            raise fields.node_of(node, "monitor").start.error(message, hint)
        if Direction.PLAYBACK in said:
            message = "a monitor is a source, and the rule speaks of playback"
            raise fields.node_of(node, "monitor").start.error(message, "make it two rules")
    elif is_monitor:
        text = shown(said["device"])
        raise fields.node_of(node, "device").start.error(
            f"device: {text} is a monitor, which would let the guest hear what other guests play",
            "name a microphone; 'pactl list short sources' shows them",
        )


def _times(node: Node, said: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """When the rule begins to hold and when it ends, as from, until and for say."""
    starts: datetime | None = said.get("from")
    ends: datetime | None = None
    if "until" in said:
        until = fields.node_of(node, "until")
        ends = fields.value("until", until, partial(values.read_moment, start=starts))
        if starts is not None and ends <= starts:
            raise until.start.error(f"until: {fields.kind(until)} is not after from")
    if "for" in said:
        length = fields.node_of(node, "for")
        if "until" in said:
            raise length.start.error("until and for both say when it ends", "remove one")
        if starts is None:
            hint = "write until, or add from:, or use xensnd-policy with --for"
            raise length.start.error("for needs a from: to count from", hint)
        try:
            ends = values.after(starts, said["for"])
        except values.NotAValue as problem:
            raise length.start.error(f"for: {problem}", problem.hint) from None
    return starts, ends


def _guest(key: str, node: Node) -> str:
    hint = "a name, or a glob in quotes such as 'work-*'"
    guest = fields.text(key, node, hint)
    if wrong := complaint(guest):
        raise node.start.error(f"{key} {shown(guest)} {wrong}", hint)
    return guest


def _verb(key: str, node: Node) -> Verb:
    hint = f"write {_OR}"
    text = fields.text(key, node, hint)
    if text in _VERBS:
        return Verb(text)
    lower = text.lower()
    hint = fields.did_you_mean(text, _VERBS) or hint
    if lower in _YES | _NO:
        hint = f"write {Verb.ALLOW if lower in _YES else Verb.DENY}"
    raise node.start.error(f"{key}: {shown(text)} is not one of {', '.join(_VERBS)}", hint)


def _option(key: Key) -> Reader:
    if key.is_list:
        return partial(fields.items, read=key.read, most=MAX_ITEMS)
    return partial(fields.value, read=key.read)


def _read_true(text: str) -> bool:
    if text not in ("true", "false"):
        raise values.NotAValue("is not true or false", "write true")
    return text == "true"


RULE_READERS: Mapping[str, Reader] = {
    "guest": _guest,
    **dict.fromkeys(map(str, Direction), _verb),
    **{key.name: _option(key) for key in KEYS},
    "from": partial(fields.value, read=values.read_moment),
    "until": partial(fields.text, hint="write such as 2026-11-20T18:00"),
    "for": partial(fields.value, read=values.read_duration),
    "once": partial(fields.value, read=_read_true),
    "taken-by": partial(fields.value, read=values.read_stream),
}
"""Each key that a rule may have, in the order in which a message lists them."""
