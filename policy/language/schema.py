"""The language as a JSON schema, for editors that complete and check while one types.

It is made from the same table as the loader; the loader is stricter, and has the last word:
`xensnd-policy check`. The copy in docs is written by
`python -m policy.language.schema > docs/policy.schema.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from policy.language.fields import VERSION
from policy.language.rules import MAX_ITEMS, MAX_RULES
from policy.matching import MAX_CHARACTERS
from policy.model import Direction, Verb
from policy.options import KEYS, Key

_Schema = Mapping[str, Any]

_VERB = {
    Direction.PLAYBACK: "Sound that comes out of the guest.",
    Direction.CAPTURE: "The microphone, into the guest.",
}
_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
_DURATION = "(?=.)([0-9]{1,3}d)?([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?"


def schema() -> dict[str, Any]:
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "xensnd policy",
        "description": "Which guest may play, which may record. The first rule that matches a "
        "guest and speaks of the direction decides; where none does, it is denied.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "rules"],
        "properties": {
            "version": {"const": int(VERSION)},
            "rules": {"type": "array", "maxItems": MAX_RULES, "items": _rule()},
        },
    }


def text() -> str:
    return json.dumps(schema(), indent=2) + "\n"


def _rule() -> _Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["guest"],
        "anyOf": [{"required": [str(direction)]} for direction in Direction],
        "not": {"required": ["until", "for"]},
        "if": {"required": ["monitor"]},
        "then": {
            "required": ["device"],
            "not": {"required": [str(Direction.PLAYBACK)]},
            "properties": {"device": {"pattern": r"\.monitor$"}},
        },
        "else": {"properties": {"device": {"pattern": r"^(?!.*\.monitor$)"}}},
        "dependencies": {
            "for": ["from"],
            "taken-by": ["once"],
            "device": {"not": {"required": [str(direction) for direction in Direction]}},
        },
        "properties": {
            "guest": {
                "description": "A name, a glob in quotes such as 'work-*', uuid:UUID, tag:TAG or "
                "label:COLOUR.",
                "type": ["string", "number"],
                "minLength": 1,
                "maxLength": MAX_CHARACTERS,
                "examples": ["work", "work-*", "tag:calls", "label:red"],
            },
            **{
                str(direction): {"description": about, "enum": [str(verb) for verb in Verb]}
                for direction, about in _VERB.items()
            },
            **{key.name: _option(key) for key in KEYS},
            "from": _text("The rule holds from this date and time on.", _MOMENT),
            "until": _text(
                "The rule holds until this date and time; with from, also HH:MM, the next after "
                "it.",
                f"({_MOMENT}|{_TIME})",
            ),
            "for": _text("How long after from the rule holds, such as 1h30m.", _DURATION),
            "once": {
                "description": "For one stream. Of grants alone, which xensnd-policy writes.",
                "type": "boolean",
            },
            "taken-by": _text(
                "The stream that has taken a once grant.", "[A-Za-z0-9][A-Za-z0-9_./-]{0,62}"
            ),
        },
    }


def _option(key: Key) -> _Schema:
    if not key.is_list:
        return {"description": key.about, **key.schema}
    return {
        "description": key.about,
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_ITEMS,
        "uniqueItems": True,
        "items": key.schema,
    }


def _text(about: str, pattern: str) -> _Schema:
    return {"description": about, "type": "string", "pattern": f"^{pattern}$"}


if __name__ == "__main__":
    print(text(), end="")
