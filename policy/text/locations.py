"""Locations in policy files, and error messages of one line that name them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xensnd.errors import PolicyError
from xensnd.text import escaped


@dataclass(frozen=True, slots=True)
class Location:
    """One character of a file. Lines and columns count from 1, the offset from 0."""

    file: Path
    line: int
    column: int
    offset: int  # in characters, from the start of the file

    def error(self, message: str, hint: str = "") -> PolicyError:
        """An error about this location; `hint` says what to do."""
        where = f"{escaped(self.file)}:{self.line}:{self.column}"
        return PolicyError(f"{where}: {message}{_in_parentheses(hint)}")


def location_at(offset: int, text: str, file: Path) -> Location:
    """The location of the character at this offset of the file's text."""
    line_start = text.rfind("\n", 0, offset) + 1
    return Location(file, text.count("\n", 0, offset) + 1, offset - line_start + 1, offset)


def file_error(path: Path, message: str, hint: str = "") -> PolicyError:
    """An error about a file or directory as a whole; `hint` says what to do."""
    return PolicyError(f"{escaped(path)}: {message}{_in_parentheses(hint)}")


def _in_parentheses(hint: str) -> str:
    return f" ({hint})" if hint else ""
