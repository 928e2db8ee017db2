"""The language as a JSON schema, for text editors that complete and check while one types.

It is made from the same tables as the loader. The loader is stricter: `xensnd-policy check` decides
what is valid. Write the copy in docs with `python -m policy.language.schema >
docs/policy.schema.json`.
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
from policy.text.values import DATETIME_PATTERN, DURATION_PATTERN, STREAM_PATTERN, TIME_PATTERN

_Schema = Mapping[str, Any]

_DIRECTION_DESCRIPTIONS = {
    Direction.PLAYBACK: "Whether the guest may play sound.",
    Direction.CAPTURE: "Whether the guest may record from the microphone.",
}


def schema() -> dict[str, Any]:
    """The schema of one policy file."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "xensnd policy",
        "description": "Which guest may play and which may record. The first rule that matches a "
        "guest and names the direction decides. Where no rule does, the answer is deny.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "rules"],
        "properties": {
            "version": {"const": int(VERSION)},
            "rules": {"type": "array", "maxItems": MAX_RULES, "items": _rule()},
        },
    }


def text() -> str:
    """The schema as JSON text."""
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
                "description": "A name, a glob in quotes such as 'work-*', uuid:UUID, tag:TAG, "
                "label:COLOUR, or on Qubes class:CLASS, template:NAME or dispvm-of:QUBE.",
                "type": ["string", "number"],
                "minLength": 1,
                "maxLength": MAX_CHARACTERS,
                "examples": ["work", "work-*", "tag:calls", "label:red", "class:DispVM"],
            },
            **{
                str(direction): {"description": description, "enum": [str(verb) for verb in Verb]}
                for direction, description in _DIRECTION_DESCRIPTIONS.items()
            },
            **{key.name: _option(key) for key in KEYS},
            "from": _text("The rule applies from this date and time on.", DATETIME_PATTERN),
            "until": _text(
                "The rule applies until this date and time. With from, HH:MM is allowed too: the "
                "next such time after from.",
                f"({DATETIME_PATTERN}|{TIME_PATTERN})",
            ),
            "for": _text(
                "How long the rule applies after from, such as 1h30m.", f"(?=.){DURATION_PATTERN}"
            ),
            "once": {
                "description": "For one stream. Only in grants, which xensnd-policy writes.",
                "type": "boolean",
            },
            "taken-by": _text("The stream that uses a once grant. Only in grants.", STREAM_PATTERN),
        },
    }


def _option(key: Key) -> _Schema:
    if not key.is_list:
        return {"description": key.description, **key.schema}
    return {
        "description": key.description,
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_ITEMS,
        "uniqueItems": True,
        "items": key.schema,
    }


def _text(description: str, pattern: str) -> _Schema:
    return {"description": description, "type": "string", "pattern": f"^{pattern}$"}


if __name__ == "__main__":
    print(text(), end="")
