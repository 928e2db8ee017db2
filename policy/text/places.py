"""Where something stands in a policy file, and how to say in one line what is wrong there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xensnd.errors import PolicyError
from xensnd.text import escaped


@dataclass(frozen=True, slots=True)
class Place:
    """A character of a file. Lines and columns count from 1, the offset from 0."""

    file: Path
    line: int
    column: int
    offset: int  # in characters, from the start of the file

    def error(self, message: str, hint: str = "") -> PolicyError:
        where = f"{escaped(self.file)}:{self.line}:{self.column}"
        return PolicyError(f"{where}: {message}{_in_parentheses(hint)}")


def place_of(offset: int, text: str, file: Path) -> Place:
    """The place of the character at an offset of a file's text."""
    line_start = text.rfind("\n", 0, offset) + 1
    return Place(file, text.count("\n", 0, offset) + 1, offset - line_start + 1, offset)


def file_error(path: Path, message: str, hint: str = "") -> PolicyError:
    """For what is wrong with a file or directory as a whole."""
    return PolicyError(f"{escaped(path)}: {message}{_in_parentheses(hint)}")


def _in_parentheses(hint: str) -> str:
    return f" ({hint})" if hint else ""
