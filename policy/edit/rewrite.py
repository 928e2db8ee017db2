"""Changes to the text of a policy file at the locations of its nodes. Other characters stay.

Each function returns a new text. It may not be what was meant, in a layout that is rare; so the
caller must parse it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from policy.model import Direction, Verb
from policy.text.locations import Location
from policy.text.nodes import ListNode, MapNode, Node, TextNode, parse

NEW_FILE = """\
# The rules of this machine's owner. For each guest and direction, the first rule that matches the
# guest and names the direction decides. xensnd-policy edits this file and keeps your comments and
# layout, so you may edit it by hand too. 'xensnd-policy explain GUEST' shows which rule decides.
version: 1
rules:
"""


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a valid policy file, and the nodes to change."""

    text: str
    rules_key: Node
    rules: ListNode

    @classmethod
    def of(cls, text: str, file: Path) -> Document:
        """Raises ValueError if the text is not a valid policy."""
        root = parse(text, file)
        for key, value in root.pairs if isinstance(root, MapNode) else ():
            if isinstance(key, TextNode) and key.text == "rules" and isinstance(value, ListNode):
                return cls(text, key, value)
        raise ValueError(f"{file} is not a valid policy")

    def with_verb(self, index: int, direction: Direction, verb: Verb) -> str:
        """The text with this verb for the direction in the rule at the index."""
        rule = self.rules.items[index]
        assert isinstance(rule, MapNode)  # noqa: S101 - the loader has checked it
        for key, value in rule.pairs:
            if isinstance(key, TextNode) and key.text == direction:
                if isinstance(value, TextNode) and value.text == verb:
                    return self.text
                return self.text[: value.start.offset] + verb + self.text[value.end.offset :]
        last = rule.pairs[-1][1].end
        if rule.flow:
            return self._insert(last, f", {direction}: {verb}")
        return self._insert_lines(last, [self._indent_of(rule.start) + f"{direction}: {verb}"])

    def with_rule(self, index: int, fields: Mapping[str, str]) -> str:
        """The text with a new rule before the one at the index, or after the last."""
        items = self.rules.items
        if not self.rules.flow:
            # directly below the rule above, so that a comment stays with the rule that follows it
            above = items[index - 1].end if index else self.rules_key.end
            lines = _block_rule(self._indent_of(self.rules.start), fields)
            return self._insert_lines(above, lines)
        rule = f"{{{', '.join(_pairs(fields))}}}"
        if not items:
            return self._insert(self.rules.start, rule, skip=len("["))
        if index == len(items):
            return self._insert(items[-1].end, f", {rule}")
        return self._insert(items[index].start, f"{rule}, ")

    def _insert(self, at: Location, addition: str, skip: int = 0) -> str:
        offset = at.offset + skip
        return self.text[:offset] + addition + self.text[offset:]

    def _insert_lines(self, after: Location, lines: list[str]) -> str:
        """New lines below the line of a location, with the line ending of the file's first line."""
        first_end = self.text.find("\n")
        newline = "\r\n" if self.text[first_end - 1 : first_end] == "\r" else "\n"
        line_end = self.text.find("\n", after.offset)
        if line_end < 0:
            return self.text + "".join(newline + line for line in lines)
        addition = "".join(line + newline for line in lines)
        return self.text[: line_end + 1] + addition + self.text[line_end + 1 :]

    def _indent_of(self, location: Location) -> str:
        """The indentation that leads to a location's column: tabs stay, all else is spaces."""
        line_start = self.text.rfind("\n", 0, location.offset) + 1
        before = self.text[line_start : location.offset]
        return "".join(char if char.isspace() else " " for char in before)


def new_file(fields: Mapping[str, str]) -> str:
    """The text of a new user's file with one rule."""
    return NEW_FILE + "".join(line + "\n" for line in _block_rule("  ", fields))


def _block_rule(indent: str, fields: Mapping[str, str]) -> list[str]:
    first, *others = _pairs(fields)
    return [f"{indent}- {first}", *(f"{indent}  {other}" for other in others)]


def _pairs(fields: Mapping[str, str]) -> list[str]:
    return [f"{key}: {value}" for key, value in fields.items()]
