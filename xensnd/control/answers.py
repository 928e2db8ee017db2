"""What a person may answer when a guest asks to play or record: docs/control.md."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["DEFAULT_MINUTES", "GIVEN", "LASTING", "Answer"]

DEFAULT_MINUTES = 30  # of Answer.FOR, where the person names no other time


class Answer(StrEnum):
    """The end of a question, as the control protocol spells it."""

    ONCE = "once"  # this stream, until it is closed
    FOR = "for"  # a time
    ALWAYS = "always"  # writes a rule
    NO = "no"  # not this stream
    NEVER = "never"  # writes a rule
    NONE = "no answer"  # nobody was there: not now


GIVEN = tuple(answer for answer in Answer if answer is not Answer.NONE)  # by people
LASTING = (Answer.FOR, Answer.ALWAYS, Answer.NEVER)
