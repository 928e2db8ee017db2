"""Reading a mapping of a file by its keys: what is known, what is twice, what one word must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, TypeVar

from policy.text.nodes import ListNode, MapNode, Node, TextNode
from policy.text.values import NotAValue
from xensnd.text import quoted

VERSION = "1"

Reader = Callable[[str, Node], Any]
_T = TypeVar("_T")


def fields(what: str, node: Node, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The values of a mapping, each read by its key's reader."""
    if not isinstance(node, MapNode):
        raise node.start.error(f"{what} must be a mapping, got {kind(node)}", known(readers))
    lines: dict[str, int] = {}
    values = {}
    for key_node, value_node in node.pairs:
        key = _known_key(key_node, readers)
        if key in lines:
            raise key_node.start.error(f"duplicate key '{key}'", f"first on line {lines[key]}")
        lines[key] = key_node.start.line
        values[key] = readers[key](key, value_node)
    return values


def node_of(node: Node, key: str) -> Node:
    """The value of a key that is there."""
    pairs = node.pairs if isinstance(node, MapNode) else ()
    return next(value for name, value in pairs if isinstance(name, TextNode) and name.text == key)


def version(key: str, node: Node) -> None:
    hint = f"write 'version: {VERSION}'"
    written = text(key, node, hint)
    if isinstance(node, TextNode) and not node.plain:
        raise node.start.error("version must be a number without quotes", hint)
    if written != VERSION:
        raise node.start.error(f"version {quoted(written)} is not known to this xensnd", hint)


def text(key: str, node: Node, hint: str) -> str:
    if not isinstance(node, TextNode):
        raise node.start.error(f"{key} must be one word or name, got {kind(node)}", hint)
    if node.plain and not node.text:
        raise node.start.error(f"{key} is empty", hint)
    if node.start.line != node.end.line:
        raise node.start.error(f"{key} must stand on one line", hint)
    return node.text


def value(key: str, node: Node, read: Callable[[str], _T]) -> _T:
    """What a reader of values makes of one word."""
    written = text(key, node, _hint(read))
    try:
        return read(written)
    except NotAValue as problem:
        raise node.start.error(f"{key}: {quoted(written)} {problem}", problem.hint) from None


@lru_cache(maxsize=64)
def _hint(read: Callable[[str], object]) -> str:
    """What a reader says should be written."""
    try:
        read("")
    except NotAValue as problem:
        return problem.hint
    return ""


def items(key: str, node: Node, read: Callable[[str], _T], most: int) -> tuple[_T, ...]:
    """The values of a list in which nothing stands twice."""
    if not isinstance(node, ListNode):
        raise node.start.error(f"{key} must be a list, got {kind(node)}", "write [one, another]")
    if not node.items:
        raise node.start.error(f"{key} is empty", "name one, or leave the key out")
    if len(node.items) > most:
        raise node.items[most].start.error(f"{key} has more than {most} items")
    found: list[_T] = []
    for item in node.items:
        each = value(key, item, read)
        if each in found:
            raise item.start.error(f"{key}: {kind(item)} stands twice", "remove one")
        found.append(each)
    return tuple(found)


def kind(node: Node) -> str:
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a mapping"
        case TextNode(text=""):
            return "nothing"
        case TextNode():
            return quoted(node.text)


def known(readers: Iterable[str]) -> str:
    return f"known: {', '.join(readers)}"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    close = get_close_matches(word.lower(), list(words), n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _known_key(node: Node, readers: Mapping[str, Reader]) -> str:
    if not isinstance(node, TextNode):
        raise node.start.error(f"a key must be a word, got {kind(node)}", known(readers))
    if node.text in readers:
        return node.text
    hint = did_you_mean(node.text, readers) or known(readers)
    if node.text == "<<":
        hint = "merge keys are not allowed; write the keys out"
    raise node.start.error(f"unknown key {quoted(node.text)}", hint)
