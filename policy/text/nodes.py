"""The subset of YAML that policy files use: mappings, lists and text. Values are not converted.

The tree is built from the parser's events, not by `yaml.compose()`. So there is no recursion, and
deep nesting cannot exhaust the stack. What the subset leaves out is refused with its location.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from policy.text.locations import Location, location_at
from xensnd.errors import PolicyError
from xensnd.text import quoted

MAX_DEPTH = 8  # the language needs four

# libyaml's parser is twenty times as fast as PyYAML's own and accepts the same files.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What YAML forbids, and characters that break or reverse a line invisibly, so that the file means
# something else than it shows (U+0085, U+2028, U+2029, a lone CR, BOM, bidirectional overrides).
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ufeff\ufffe\uffff]|\r(?!\n)"
)
_CHARACTER_NAMES = {"\x00": "NUL", "\r": "carriage return without line feed", "\ufeff": "BOM"}


@dataclass(frozen=True, slots=True)
class TextNode:
    text: str
    plain: bool  # written without quotes
    start: Location
    end: Location


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple[Node, ...]
    flow: bool  # written [like, this]
    start: Location
    end: Location  # after the last item, not after the comments that follow it


@dataclass(frozen=True, slots=True)
class MapNode:
    pairs: tuple[tuple[Node, Node], ...]
    flow: bool  # written {like: this}
    start: Location
    end: Location


Node = TextNode | ListNode | MapNode


def parse(text: str, file: Path) -> Node | None:
    """The root node of the file's one document; None if it is empty. Raises only PolicyError."""
    if found := _FORBIDDEN.search(text):
        raise _forbidden_character(found[0], location_at(found.start(), text, file))
    try:
        return _build_tree(text, file, _Loader)
    except _TooDeep:
        # libyaml reads ahead and has a depth limit of its own, which it may reach before ours. The
        # Python parser has none, so the error is ours and names the first level too many.
        return _build_tree(text, file, yaml.SafeLoader)


class _TooDeep(Exception):
    """libyaml's own depth limit was reached."""


def _build_tree(text: str, file: Path, loader: Any) -> Node | None:
    tree = _TreeBuilder(file)
    try:
        for event in yaml.parse(text, Loader=loader):
            tree.add_event(event)
    except yaml.MarkedYAMLError as error:
        if loader is not yaml.SafeLoader and "nesting" in (error.problem or ""):
            raise _TooDeep from None
        raise _syntax_error(error, tree) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise location_at(0, text, file).error(f"not valid YAML: {quoted(str(error))}") from None
    return tree.root


class _TreeBuilder:
    """Builds nodes from parser events; refuses YAML that policy files must not use."""

    def __init__(self, file: Path) -> None:
        self.root: Node | None = None
        self._file = file
        self._documents = 0
        self._open: list[tuple[Any, list[Node]]] = []  # open collections: start event, children

    def add_event(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(event)
            case yaml.AliasEvent():
                raise self.location(event.start_mark).error(
                    "aliases are not allowed",
                    "a name that starts with * needs quotes, such as '*-work'",
                )
            case yaml.ScalarEvent():
                self._check_properties(event)
                start, end = self.location(event.start_mark), self.location(event.end_mark)
                self._add_node(TextNode(event.value, event.style in (None, ""), start, end))
            case yaml.CollectionStartEvent():
                self._check_properties(event)
                self._open.append((event, []))
            case yaml.CollectionEndEvent():
                self._add_node(self._collection(*self._open.pop(), event))

    def location(self, mark: Any) -> Location:
        return Location(self._file, mark.line + 1, mark.column + 1, mark.index)

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        location = self.location(event.start_mark)
        if self._documents > 1:
            raise location.error("a second document starts here", "move it to a file of its own")
        if event.version or event.tags:
            raise location.error("%-directives are not allowed", "remove the line")

    def _check_properties(self, event: Any) -> None:
        location = self.location(event.start_mark)
        if event.anchor is not None:
            raise location.error(
                f"anchors are not allowed: {quoted('&' + event.anchor)}", "write the value in full"
            )
        if event.tag is not None:
            hint = "quote a value that starts with !"
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise location.error(f"tags are not allowed: {quoted(tag)}", hint)
        if len(self._open) >= MAX_DEPTH:
            raise location.error(f"nested deeper than {MAX_DEPTH} levels")

    def _collection(self, opening: Any, children: list[Node], closing: Any) -> Node:
        start = self.location(opening.start_mark)
        flow = bool(opening.flow_style)
        end = self.location(closing.end_mark) if flow or not children else children[-1].end
        if isinstance(opening, yaml.SequenceStartEvent):
            return ListNode(tuple(children), flow, start, end)
        return MapNode(tuple(zip(children[::2], children[1::2], strict=True)), flow, start, end)

    def _add_node(self, node: Node) -> None:
        if self._open:
            self._open[-1][1].append(node)
        else:
            self.root = node


def _forbidden_character(character: str, location: Location) -> PolicyError:
    name = _CHARACTER_NAMES.get(character, "invisible")
    hint = "save the file as UTF-8 without BOM" if name == "BOM" else "remove it"
    return location.error(f"character U+{ord(character):04X} ({name}) is not allowed", hint)


def _syntax_error(error: yaml.MarkedYAMLError, tree: _TreeBuilder) -> PolicyError:
    mark = error.problem_mark or error.context_mark or yaml.Mark("", 0, 0, 0, None, 0)
    if error.context == "while scanning a quoted scalar":
        return tree.location(error.context_mark).error(
            "the quote that opens here is not closed", "close it on the same line"
        )
    return tree.location(mark).error(f"not valid YAML: {error.problem}", _hint(error))


def _hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if error.context == "while scanning an alias":
        return "a name that starts with * needs quotes: '*'"
    if "cannot start any token" in problem or "tab" in problem:
        return "indent with spaces, not tabs; quote a value that starts with @, % or `"
    if "mapping values are not allowed" in problem:
        return "indent it like the lines around it; quote a value that has a colon"
    return "check the indentation, and that quotes and brackets are closed"
