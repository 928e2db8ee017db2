"""YAML as policy may use it: mappings, lists and text, each with its place. Nothing is converted.

The tree is built from the parser's events, not by `yaml.compose()`: no recursion, so no depth of
nesting exhausts the stack, and what a policy must not have is refused where it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from policy.text.places import Place, place_of
from xensnd.errors import PolicyError
from xensnd.text import quoted

MAX_DEPTH = 8  # the language needs four

# libyaml's parser is twenty times as fast; PyYAML's own says the same in other words.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Besides what YAML forbids: what breaks or turns a line unseen, so that a file reads differently
# from how it looks (U+0085, U+2028, U+2029, a lone CR, BOM, bidirectional overrides).
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ufeff\ufffe\uffff]|\r(?!\n)"
)
_CHARACTER_NAMES = {"\x00": "NUL", "\r": "carriage return without line feed", "\ufeff": "BOM"}


@dataclass(frozen=True, slots=True)
class TextNode:
    text: str
    plain: bool  # written without quotes
    start: Place
    end: Place


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple[Node, ...]
    flow: bool  # written [like, this]
    start: Place
    end: Place  # after the last item, not after the comments that follow it


@dataclass(frozen=True, slots=True)
class MapNode:
    pairs: tuple[tuple[Node, Node], ...]
    flow: bool  # written {like: this}
    start: Place
    end: Place


Node = TextNode | ListNode | MapNode


def parse(text: str, file: Path) -> Node | None:
    """The file's one document; None if it is empty. Raises PolicyError, nothing else."""
    if found := _FORBIDDEN.search(text):
        raise _forbidden_character(found[0], place_of(found.start(), text, file))
    try:
        return _grown(text, file, _Loader)
    except _TooDeep:
        # libyaml reads ahead, and may refuse at its own depth what is to be refused at ours. The
        # parser that is Python knows no such depth, and is left at the first level too many.
        return _grown(text, file, yaml.SafeLoader)


class _TooDeep(Exception):
    pass


def _grown(text: str, file: Path, loader: Any) -> Node | None:
    tree = _Tree(file)
    try:
        for event in yaml.parse(text, Loader=loader):
            tree.take(event)
    except yaml.MarkedYAMLError as error:
        if loader is not yaml.SafeLoader and "nesting" in (error.problem or ""):
            raise _TooDeep from None
        raise _not_yaml(error, tree) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise place_of(0, text, file).error(f"not valid YAML: {quoted(str(error))}") from None
    return tree.root


class _Tree:
    """Grows nodes from events; refuses what policy does not have."""

    def __init__(self, file: Path) -> None:
        self.root: Node | None = None
        self._file = file
        self._documents = 0
        self._open: list[tuple[Any, list[Node]]] = []  # collections begun: event, children

    def take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(event)
            case yaml.AliasEvent():
                raise self.place(event.start_mark).error(
                    "aliases are not allowed",
                    "a name that starts with * needs quotes, such as '*-work'",
                )
            case yaml.ScalarEvent():
                self._check(event)
                start, end = self.place(event.start_mark), self.place(event.end_mark)
                self._add(TextNode(event.value, event.style in (None, ""), start, end))
            case yaml.CollectionStartEvent():
                self._check(event)
                self._open.append((event, []))
            case yaml.CollectionEndEvent():
                self._add(self._closed(*self._open.pop(), event))

    def place(self, mark: Any) -> Place:
        return Place(self._file, mark.line + 1, mark.column + 1, mark.index)

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        place = self.place(event.start_mark)
        if self._documents > 1:
            raise place.error("a second document starts here", "give it a file of its own")
        if event.version or event.tags:
            raise place.error("%-directives are not allowed", "remove the line")

    def _check(self, event: Any) -> None:
        place = self.place(event.start_mark)
        if event.anchor is not None:
            raise place.error(
                f"anchors are not allowed: {quoted('&' + event.anchor)}", "write the value out"
            )
        if event.tag is not None:
            hint = "quote a value that starts with !"
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise place.error(f"tags are not allowed: {quoted(tag)}", hint)
        if len(self._open) >= MAX_DEPTH:
            raise place.error(f"nested deeper than {MAX_DEPTH} levels")

    def _closed(self, opening: Any, children: list[Node], closing: Any) -> Node:
        start = self.place(opening.start_mark)
        flow = bool(opening.flow_style)
        end = self.place(closing.end_mark) if flow or not children else children[-1].end
        if isinstance(opening, yaml.SequenceStartEvent):
            return ListNode(tuple(children), flow, start, end)
        return MapNode(tuple(zip(children[::2], children[1::2], strict=True)), flow, start, end)

    def _add(self, node: Node) -> None:
        if self._open:
            self._open[-1][1].append(node)
        else:
            self.root = node


def _forbidden_character(character: str, place: Place) -> PolicyError:
    name = _CHARACTER_NAMES.get(character, "invisible")
    hint = "save the file as UTF-8 without BOM" if name == "BOM" else "remove it"
    return place.error(f"character U+{ord(character):04X} ({name}) is not allowed", hint)


def _not_yaml(error: yaml.MarkedYAMLError, tree: _Tree) -> PolicyError:
    mark = error.problem_mark or error.context_mark or yaml.Mark("", 0, 0, 0, None, 0)
    if error.context == "while scanning a quoted scalar":
        return tree.place(error.context_mark).error("a quote is opened here, and not closed well")
    return tree.place(mark).error(f"not valid YAML: {error.problem}", _hint(error))


def _hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if error.context == "while scanning an alias":
        return "a name that starts with * needs quotes: '*'"
    if "cannot start any token" in problem or "tab" in problem:
        return "indent with spaces, not tabs; quote a value that starts with @, % or `"
    if "mapping values are not allowed" in problem:
        return "indent it like its neighbours; quote a value with a colon in it"
    return "is it indented like its neighbours, are quotes and brackets closed?"
