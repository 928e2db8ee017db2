"""Readers for the nodes of a file: mappings by their keys, lists, and single values.

A reader takes a key and its node, and returns the value. It raises PolicyError, with the node's
location, for what is unknown, missing, given twice or of the wrong kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from policy.matching import PREFIXES, find_mistake
from policy.text.locations import Location
from policy.text.nodes import ListNode, MapNode, Node, TextNode
from policy.text.values import InvalidValue
from xensnd.text import quoted

VERSION = "1"

Reader = Callable[[str, Node], Any]
_T = TypeVar("_T")


def read_document(what: str, root: Node | None, file: Path, key: str, reader: Reader) -> Any:
    """The value of `key` in a file that has this key and `version`. `what` names its content."""
    if root is None:
        hint = f"write 'version: {VERSION}' and '{key}: []', or remove the file"
        raise Location(file, 1, 1, 0).error(f"the file has no {what} in it", hint)
    found = read_mapping(f"a {what} file", root, {"version": read_version, key: reader})
    for needed, example in (("version", f"version: {VERSION}"), (key, f"{key}: []")):
        if needed not in found:
            raise root.start.error(f"{needed} is missing", f"write '{example}'")
    return found[key]


def read_mapping(what: str, node: Node, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The values of a mapping, each read by the reader of its key."""
    if not isinstance(node, MapNode):
        message = f"{what} must be a mapping, got {describe(node)}"
        raise node.start.error(message, _list_known(readers))
    lines: dict[str, int] = {}
    values = {}
    for key_node, value_node in node.pairs:
        key = _read_key(key_node, readers)
        if key in lines:
            raise key_node.start.error(f"duplicate key '{key}'", f"first on line {lines[key]}")
        lines[key] = key_node.start.line
        values[key] = readers[key](key, value_node)
    return values


def node_of(node: Node, key: str) -> Node:
    """The node of a key's value. The key must be there."""
    pairs = node.pairs if isinstance(node, MapNode) else ()
    return next(value for name, value in pairs if isinstance(name, TextNode) and name.text == key)


def read_version(key: str, node: Node) -> None:
    hint = f"write 'version: {VERSION}'"
    text = read_text(key, node, hint)
    if isinstance(node, TextNode) and not node.plain:
        raise node.start.error("version must be a number without quotes", hint)
    if text != VERSION:
        raise node.start.error(f"version {quoted(text)} is not known to this xensnd", hint)


def read_text(key: str, node: Node, hint: str) -> str:
    if not isinstance(node, TextNode):
        raise node.start.error(f"{key} must be one word or name, got {describe(node)}", hint)
    if node.plain and not node.text:
        raise node.start.error(f"{key} is empty", hint)
    if node.start.line != node.end.line:
        raise node.start.error(f"{key} must be on one line", hint)
    return node.text


def read_pattern(key: str, node: Node, hint: str) -> str:
    """A guest pattern."""
    pattern = read_text(key, node, hint)
    if mistake := find_mistake(pattern):
        raise node.start.error(f"{key} {quoted(pattern)} {mistake}", hint)
    return pattern


def read_value(key: str, node: Node, read: Callable[[str], _T]) -> _T:
    """The text of the node, converted by `read`, which may raise InvalidValue."""
    text = read_text(key, node, _hint_of(read))
    try:
        return read(text)
    except InvalidValue as problem:
        raise node.start.error(f"{key}: {quoted(text)} {problem}", problem.hint) from None


@lru_cache(maxsize=64)
def _hint_of(read: Callable[[str], object]) -> str:
    """The hint that `read` gives for an empty text."""
    try:
        read("")
    except InvalidValue as problem:
        return problem.hint
    return ""


def read_values(key: str, node: Node, read: Callable[[str], _T], most: int) -> tuple[_T, ...]:
    """The values of a list of 1 to `most` different values."""
    if not isinstance(node, ListNode):
        raise node.start.error(
            f"{key} must be a list, got {describe(node)}", "write [one, another]"
        )
    if not node.items:
        raise node.start.error(f"{key} is empty", "write at least one value, or remove the key")
    if len(node.items) > most:
        raise node.items[most].start.error(f"{key} has more than {most} values", "remove some")
    found: list[_T] = []
    for item in node.items:
        value = read_value(key, item, read)
        if value in found:
            raise item.start.error(f"{key}: {describe(item)} appears twice", "remove one")
        found.append(value)
    return tuple(found)


def read_items(key: str, node: Node, read: Callable[[Node], _T], most: int) -> tuple[_T, ...]:
    """The items of a list of at most `most`, each read from its node."""
    if isinstance(node, TextNode) and not node.text:
        raise node.start.error(f"{key} is empty", f"write '{key}: []' for none")
    if not isinstance(node, ListNode):
        hint = f"start each item with '- ', or write '{key}: []' for none"
        raise node.start.error(f"{key} must be a list, got {describe(node)}", hint)
    if len(node.items) > most:
        raise node.items[most].start.error(f"more than {most} {key} in one file", "use globs")
    return tuple(read(item) for item in node.items)


def describe(node: Node) -> str:
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a mapping"
        case TextNode(text=""):
            return "nothing"
        case TextNode():
            return quoted(node.text)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint that names the closest of these words; empty if none is close."""
    close = get_close_matches(word.lower(), list(words), n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _list_known(keys: Iterable[str]) -> str:
    return f"known keys: {', '.join(keys)}"


def _read_key(node: Node, readers: Mapping[str, Reader]) -> str:
    if not isinstance(node, TextNode):
        message = f"a key must be a word, got {describe(node)}"
        raise node.start.error(message, _list_known(readers))
    if node.text in readers:
        return node.text
    hint = did_you_mean(node.text, readers) or _list_known(readers)
    if node.text == "<<":
        hint = "merge keys are not allowed; write the keys in full"
    elif "guest" in readers and node.text in PREFIXES:
        hint = f"write guest: {node.text}:..."
    raise node.start.error(f"unknown key {quoted(node.text)}", hint)
