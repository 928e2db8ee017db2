"""Converts what a peer wrote into a value, or raises RemoteProtocolError."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from xensnd.errors import RemoteProtocolError
from xensnd.text import quoted

__all__ = ["U32_MAX", "decimal", "member"]

U32_MAX = 2**32 - 1

_E = TypeVar("_E", bound=IntEnum)


def decimal(text: str, what: str, minimum: int = 0, maximum: int = U32_MAX) -> int:
    """Read a decimal number as XenStore holds them. `what` names it in the error.

    Digits alone: no sign, no space, and no leading zero, which some C code reads as octal.
    """
    plain = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
    # The length comes first: Python itself refuses to convert thousands of digits.
    if plain and len(text) <= len(str(maximum)) and minimum <= int(text) <= maximum:
        return int(text)
    raise RemoteProtocolError(f"{what} holds {quoted(text)}, allowed {minimum} to {maximum}")


def member(kind: type[_E], value: int, what: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise RemoteProtocolError(
            f"unknown {what} {value}, allowed {min(kind).value} to {max(kind).value}"
        ) from None
