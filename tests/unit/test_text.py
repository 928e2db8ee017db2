"""Text from elsewhere, as messages show it."""

from __future__ import annotations

import pytest

from xensnd.text import escaped, quoted


def test_printable_text_is_shown_as_it_is() -> None:
    assert escaped("Müller's work-vm, 40%") == "Müller's work-vm, 40%"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\tb\x07é漢", "a\\tb\\x07é漢"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert quoted(text) == f"'{shown}'"


def test_long_text_is_cut_before_it_is_escaped() -> None:
    assert escaped("\n" * 1000, 3) == "\\n\\n\\n"


def test_quoted_text_says_where_it_was_cut() -> None:
    assert quoted("q" * 40) == f"'{'q' * 40}'"
    assert quoted("q" * 41) == f"'{'q' * 40}'..."
