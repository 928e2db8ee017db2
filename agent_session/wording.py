"""The text of notifications. A guest's name comes from elsewhere, so it stands only in bodies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from xensnd.control.answers import DEFAULT_MINUTES, Answer
from xensnd.text import escaped

NAME_CHARACTERS_MAX = 64
_QUOTES = str.maketrans(dict.fromkeys('“”„‟"', "'"))

# A desktop that shows three actions shows the first three.
ANSWERS = (
    (Answer.ONCE, "Allow once"),
    (Answer.FOR, f"Allow for {DEFAULT_MINUTES} minutes"),
    (Answer.NO, "No"),
    (Answer.ALWAYS, "Always allow"),
    (Answer.NEVER, "Never allow"),
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification. `answered` gets the key of the action, or None if the person closed it."""

    summary: str
    body: str
    icon: str = "audio-input-microphone"
    actions: tuple[tuple[str, str], ...] = ()
    answered: Callable[[str | None], None] = field(default=lambda _key: None, compare=False)


def question(
    guest: str,
    domid: int,
    direction: str,
    seconds: float,
    answered: Callable[[str | None], None],
    source: str | None = None,
) -> Notice:
    """Returns what asks the person. `source` is what the guest would record, if that is known."""
    records = direction == "capture"
    microphone = f"the source {_named(source)}" if source else "the microphone"
    return Notice(
        "Allow a guest to record?" if records else "Allow a guest to play sound?",
        f"The guest {_named(guest)} (domain {domid}) wants to "
        f"{f'record from {microphone}' if records else 'play sound'}.\n"
        f"No answer within {seconds:.0f} seconds means no.",
        "audio-input-microphone" if records else "audio-speakers",
        ANSWERS,
        answered,
    )


def recording(guests: Sequence[str]) -> Notice:
    names = ", ".join(_named(guest) for guest in guests)
    if len(guests) == 1:
        return Notice("A guest is recording", f"The guest {names} hears the microphone.")
    return Notice(f"{len(guests)} guests are recording", f"{names} hear the microphone.")


def quarantine(guests: Sequence[str]) -> Notice:
    names = ", ".join(_named(guest) for guest in guests)
    summary = "A guest is in quarantine" if len(guests) == 1 else "Guests are in quarantine"
    body = (
        f"The sound service died more than once while it served {names}, so it does not serve "
        f"{'it' if len(guests) == 1 else 'them'} for a time. See: xensnd-policy status"
    )
    return Notice(summary, body, "security-medium")


def _named(guest: str) -> str:
    """Returns the name in quotes, so that it cannot pass for our own words. Markup and what cannot
    be printed are escaped."""
    text = escaped(guest)
    if len(text) > NAME_CHARACTERS_MAX:
        text = text[:NAME_CHARACTERS_MAX] + "…"
    return escape(f"“{text.translate(_QUOTES)}”")
