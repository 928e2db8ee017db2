"""Text from elsewhere, made safe for messages: one line, nothing that commands a terminal."""

from __future__ import annotations

__all__ = ["escaped", "quoted"]

_QUOTED_CHARACTERS_MAX = 40


def escaped(text: object, characters_max: int | None = None) -> str:
    """Return the text on one line, cut to `characters_max` first. What cannot be printed is
    escaped: a line end becomes `\\n`."""
    shown = str(text)[:characters_max]
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


def quoted(text: str) -> str:
    """Return the start of the text as a message quotes it: in quotes, escaped, with `...` behind
    them if there is more."""
    if len(text) <= _QUOTED_CHARACTERS_MAX:
        return repr(text)
    return repr(text[:_QUOTED_CHARACTERS_MAX]) + "..."
