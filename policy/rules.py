"""The language: from the tree of one file to its rules, or the first mistake and its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from policy.guests import complaint
from policy.model import Direction, Rule, Verb
from policy.nodes import ListNode, MapNode, Node, TextNode
from policy.places import Place, shown

VERSION = "1"
MAX_RULES = 10_000  # in one file

Reader = Callable[[str, Node], Any]

_VERBS = tuple(str(verb) for verb in Verb)
_YES = frozenset(("yes", "true", "on", "y"))
_NO = frozenset(("no", "false", "off", "n"))


def rules_of(root: Node | None, file: Path) -> tuple[Rule, ...]:
    """The rules of one file's tree. Raises PolicyError for the first thing it must not have."""
    if root is None:
        message = "the file has no policy in it"
        raise Place(file, 1, 1, 0).error(
            message, "write 'version: 1' and 'rules: []', or remove it"
        )
    top = _fields("a policy file", root, {"version": _version, "rules": _rules})
    if "version" not in top:
        raise root.start.error("version is missing", f"start with 'version: {VERSION}'")
    if "rules" not in top:
        raise root.start.error("rules is missing", "write 'rules: []' for none")
    rules: tuple[Rule, ...] = top["rules"]
    return rules


def _fields(what: str, node: Node, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The values of a mapping, each read by its key's reader."""
    if not isinstance(node, MapNode):
        raise node.start.error(f"{what} must be a mapping, got {_kind(node)}", _known(readers))
    lines: dict[str, int] = {}
    values = {}
    for key_node, value_node in node.pairs:
        key = _known_key(key_node, readers)
        if key in lines:
            raise key_node.start.error(f"duplicate key '{key}'", f"first on line {lines[key]}")
        lines[key] = key_node.start.line
        values[key] = readers[key](key, value_node)
    return values


def _known_key(node: Node, readers: Mapping[str, Reader]) -> str:
    if not isinstance(node, TextNode):
        raise node.start.error(f"a key must be a word, got {_kind(node)}", _known(readers))
    if node.text in readers:
        return node.text
    hint = _did_you_mean(node.text, readers) or _known(readers)
    if node.text == "<<":
        hint = "merge keys are not allowed; write the keys out"
    raise node.start.error(f"unknown key {shown(node.text)}", hint)


def _version(key: str, node: Node) -> None:
    hint = f"write 'version: {VERSION}'"
    text = _text(key, node, hint)
    if isinstance(node, TextNode) and not node.plain:
        raise node.start.error("version must be a number without quotes", hint)
    if text != VERSION:
        raise node.start.error(f"version {shown(text)} is not known to this xensnd", hint)


def _rules(key: str, node: Node) -> tuple[Rule, ...]:
    if isinstance(node, TextNode) and not node.text:
        raise node.start.error(f"{key} is empty", "write 'rules: []' for none")
    if not isinstance(node, ListNode):
        raise node.start.error(f"{key} must be a list, got {_kind(node)}", "start each with '- '")
    if len(node.items) > MAX_RULES:
        place = node.items[MAX_RULES].start
        raise place.error(f"more than {MAX_RULES} rules in one file", "use globs")
    return tuple(_rule(item) for item in node.items)


def _rule(node: Node) -> Rule:
    said = _fields("a rule", node, _RULE_READERS)
    if "guest" not in said:
        raise node.start.error("guest is missing", "write guest: NAME, or guest: '*' for all")
    if len(said) == 1:
        raise node.start.error("the rule says nothing", "add playback or capture: allow or deny")
    place = node.start
    return Rule(
        guest=said["guest"],
        playback=said.get("playback"),
        capture=said.get("capture"),
        file=place.file,
        line=place.line,
        column=place.column,
    )


def _guest(key: str, node: Node) -> str:
    hint = "a name, or a glob in quotes such as 'work-*'"
    guest = _text(key, node, hint)
    if wrong := complaint(guest):
        raise node.start.error(f"{key} {shown(guest)} {wrong}", hint)
    return guest


def _verb(key: str, node: Node) -> Verb:
    hint = f"write {' or '.join(_VERBS)}"
    text = _text(key, node, hint)
    if text in _VERBS:
        return Verb(text)
    lower = text.lower()
    hint = _did_you_mean(text, _VERBS) or hint
    if lower in _YES | _NO:
        hint = f"write {Verb.ALLOW if lower in _YES else Verb.DENY}"
    raise node.start.error(f"{key}: {shown(text)} is not one of {', '.join(_VERBS)}", hint)


_RULE_READERS: Mapping[str, Reader] = {"guest": _guest} | dict.fromkeys(map(str, Direction), _verb)


def _text(key: str, node: Node, hint: str) -> str:
    if not isinstance(node, TextNode):
        raise node.start.error(f"{key} must be one word or name, got {_kind(node)}", hint)
    if node.plain and not node.text:
        raise node.start.error(f"{key} is empty", hint)
    if node.start.line != node.end.line:
        raise node.start.error(f"{key} must stand on one line", hint)
    return node.text


def _kind(node: Node) -> str:
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a mapping"
        case TextNode(text=""):
            return "nothing"
        case TextNode():
            return shown(node.text)


def _known(readers: Mapping[str, Reader]) -> str:
    return f"known: {', '.join(readers)}"


def _did_you_mean(word: str, known: Mapping[str, Reader] | tuple[str, ...]) -> str:
    close = get_close_matches(word.lower(), known, n=1)
    return f"did you mean '{close[0]}'?" if close else ""
