"""Text for a terminal: its width, its colours, and control characters made harmless."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO
from unicodedata import combining, east_asian_width

RED, GREEN, YELLOW, BOLD, FAINT = "31", "32", "33", "1", "2"

_ENTER = "\033[?1049h\033[?25l"  # the alternate screen, without a cursor
_LEAVE = "\033[?25h\033[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\033[H", "\033[K", "\033[J"
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def has_colours(stream: TextIO | None = None) -> bool:
    """Return whether the stream is a terminal with colours, and NO_COLOR is not set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return not plain and (stream or sys.stdout).isatty()


def painted(text: str, colour: str, is_painted: bool = True) -> str:
    return f"\033[{colour}m{text}\033[0m" if is_painted and colour and text else text


def columns_of(text: str) -> int:
    """The width of the text on a terminal."""
    return sum(0 if combining(each) else 1 + (east_asian_width(each) in "WF") for each in text)


def fitted(text: str, columns: int, ellipsis: str = "…") -> str:
    """The text in exactly this width: cut and marked with an ellipsis, or padded."""
    if columns_of(text) > columns:
        while columns_of(text) > max(columns - columns_of(ellipsis), 0):
            text = text[:-1]
        text = (text + ellipsis)[:columns] if columns < columns_of(ellipsis) else text + ellipsis
    return text + " " * (columns - columns_of(text))


def size() -> tuple[int, int]:
    """The terminal's columns and lines."""
    found = shutil.get_terminal_size()
    return found.columns, found.lines


class Screen:
    """The whole terminal, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def draw(self, lines: Sequence[str]) -> None:
        """Draws the lines in one write, so that nothing flickers."""
        text = "\n".join(f"{line}{_CLEAR_LINE}" for line in lines)
        self._stream.write(f"{_HOME}{text}{_CLEAR_REST}")
        self._stream.flush()


@contextmanager
def screen() -> Iterator[Screen]:
    """The terminal's alternate screen. The old one is restored at the end, also on a signal."""

    def end(signum: int, _frame: object) -> None:
        raise SystemExit(128 + signum)

    before = {signum: signal.signal(signum, end) for signum in _ENDING}
    try:
        sys.stdout.write(_ENTER)
        sys.stdout.flush()
        yield Screen(sys.stdout)
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        for signum, handler in before.items():
            signal.signal(signum, handler)
