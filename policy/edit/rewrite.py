"""Changes to a policy file's text at the places of its nodes; every other character stays.

Each function returns a new text and promises no more: whoever calls parses it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from policy.model import Direction, Verb
from policy.text.nodes import ListNode, MapNode, Node, TextNode, parse
from policy.text.places import Place

NEW_FILE = """\
# The rules of this machine's owner. For each guest and direction the first rule that matches and
# speaks of the direction decides. xensnd-policy edits this file, and so may you: it keeps your
# comments and layout. 'xensnd-policy explain GUEST' says which rule decides.
version: 1
rules:
"""


@dataclass(frozen=True, slots=True)
class Document:
    """A good policy file, open for one change."""

    text: str
    rules_key: Node
    rules: ListNode

    @classmethod
    def of(cls, text: str, file: Path) -> Document:
        root = parse(text, file)
        for key, value in root.pairs if isinstance(root, MapNode) else ():
            if isinstance(key, TextNode) and key.text == "rules" and isinstance(value, ListNode):
                return cls(text, key, value)
        raise ValueError(f"{file} was to be a good policy")

    def with_verb(self, index: int, direction: Direction, verb: Verb) -> str:
        """The rule at this index says verb of the direction: changed in place, or added."""
        rule = self.rules.items[index]
        assert isinstance(rule, MapNode)  # noqa: S101 - the loader has seen to it
        for key, value in rule.pairs:
            if isinstance(key, TextNode) and key.text == direction:
                if isinstance(value, TextNode) and value.text == verb:
                    return self.text
                return self.text[: value.start.offset] + verb + self.text[value.end.offset :]
        last = rule.pairs[-1][1].end
        if rule.flow:
            return self._insert(last, f", {direction}: {verb}")
        return self._insert_lines(last, [self._indent(rule.start) + f"{direction}: {verb}"])

    def with_rule(self, index: int, said: Mapping[str, str]) -> str:
        """A new rule before the one at this index; after all, if the index is their number."""
        items = self.rules.items
        if not self.rules.flow:
            # right after what is above, so that a comment stays with the rule below it
            above = items[index - 1].end if index else self.rules_key.end
            lines = _block_rule(self._indent(self.rules.start), said)
            return self._insert_lines(above, lines)
        rule = f"{{{', '.join(_pairs(said))}}}"
        if not items:
            return self._insert(self.rules.start, rule, skip=len("["))
        if index == len(items):
            return self._insert(items[-1].end, f", {rule}")
        return self._insert(items[index].start, f"{rule}, ")

    def _insert(self, at: Place, addition: str, skip: int = 0) -> str:
        offset = at.offset + skip
        return self.text[:offset] + addition + self.text[offset:]

    def _insert_lines(self, after: Place, lines: list[str]) -> str:
        """New lines below the line of a place, ending as the file's first line does."""
        first_end = self.text.find("\n")
        newline = "\r\n" if self.text[first_end - 1 : first_end] == "\r" else "\n"
        line_end = self.text.find("\n", after.offset)
        if line_end < 0:
            return self.text + "".join(newline + line for line in lines)
        addition = "".join(line + newline for line in lines)
        return self.text[: line_end + 1] + addition + self.text[line_end + 1 :]

    def _indent(self, place: Place) -> str:
        """What puts a line at the column of a place: blanks as they are, a dash as a space."""
        line_start = self.text.rfind("\n", 0, place.offset) + 1
        before = self.text[line_start : place.offset]
        return "".join(char if char.isspace() else " " for char in before)


def new_file(said: Mapping[str, str]) -> str:
    """The user's file as it begins, with one rule."""
    return NEW_FILE + "".join(line + "\n" for line in _block_rule("  ", said))


def _block_rule(indent: str, said: Mapping[str, str]) -> list[str]:
    first, *others = _pairs(said)
    return [f"{indent}- {first}", *(f"{indent}  {other}" for other in others)]


def _pairs(said: Mapping[str, str]) -> list[str]:
    return [f"{key}: {value}" for key, value in said.items()]
