"""The JSON schema agrees with the loader, as far as a schema can, and its copy is up to date."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from policy.language import schema
from policy.language.loader import parse
from policy.language.rules import RULE_READERS
from xensnd.errors import PolicyError

ROOT = Path(__file__).parents[2]
FILE = Path("30-user.yaml")
RULE: Mapping[str, Any] = schema.schema()["properties"]["rules"]["items"]

VALUES: Mapping[str, list[Any]] = {
    "playback": ["allow", "deny", "ask", "yes", "Allow"],
    "max-volume": ["1%", "80%", "100%", "0%", "101%", "80", "08%"],
    "on-deny": ["silence", "refuse", "mute"],
    "device": ["mic", "a.b-c:d", "3", "@DEFAULT_SOURCE@", "a b", "m" * 128, "m" * 129],
    "max-streams": [1, 64, 0, 65],
    "max-memory": ["512KiB", "16MiB", 65536, 512, "4 MiB", "-1"],
    "budget": ["10%", "99%", "100%", "1000%", "9%", "1001%", "050%", "50", "2x"],
    "max-buffer": ["64KiB", "1MiB", 65536, 512, "64kB", "64 KiB", "-1"],
    "latency": ["20ms", "2.5ms", "20", "20 ms", "2.5555ms"],
    "rates": [[48000], [8000, 48000], [], [999], [48000, 48000]],
    "formats": [["s16_le"], ["s16_le", "u8"], ["gsm"], [], ["u8", "u8"]],
    "from": ["2026-11-20T18:00", "2026-11-20 18:00:30+01:00", "18:00", "2026-11-20"],
    "until": ["2026-11-20T18:00Z", "tomorrow", "2026-11-20"],
}


def allows(fragment: Mapping[str, Any], value: Any) -> bool:
    """What of JSON Schema ours uses; the order of the checks does not matter."""
    if "enum" in fragment:
        return value in fragment["enum"]
    if isinstance(value, str) and "pattern" in fragment:
        return re.search(fragment["pattern"], value) is not None
    if isinstance(value, list):
        once = len(set(value)) == len(value)
        enough = fragment["minItems"] <= len(value) <= fragment["maxItems"]
        return once and enough and all(allows(fragment["items"], item) for item in value)
    low, high = fragment.get("minimum", value), fragment.get("maximum", value)
    return "integer" in fragment["type"] and bool(low <= value <= high)


def loads(key: str, value: Any) -> bool:
    rest = "" if key == "playback" else "  playback: allow\n"
    text = f"version: 1\nrules:\n- guest: a\n{rest}  {key}: {json.dumps(value)}\n"
    try:
        return bool(parse(text.encode(), FILE))
    except PolicyError:
        return False


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in VALUES.items() for value in values]
)
def test_schema_and_loader_agree(key: str, value: Any) -> None:
    assert allows(RULE["properties"][key], value) is loads(key, value)


@pytest.mark.parametrize("device", ["mic", "x.monitor", None])
@pytest.mark.parametrize("direction", ["playback", "capture"])
@pytest.mark.parametrize("says_monitor", [True, False])
def test_schema_and_loader_agree_on_monitors(
    device: str | None, direction: str, says_monitor: bool
) -> None:
    rule = {"guest": "a", direction: "allow"}
    rule |= {"device": device} if device else {}
    rule |= {"monitor": "allow"} if says_monitor else {}
    wants = RULE["then" if says_monitor else "else"]
    text = json.dumps({"version": 1, "rules": [rule]})
    try:
        loads = bool(parse(text.encode(), FILE))
    except PolicyError:
        loads = False
    assert loads is (
        rule.keys() >= set(wants.get("required", []))
        and not rule.keys() & set(wants.get("not", {}).get("required", []))
        and (device is None or allows(wants["properties"]["device"], device))
    )


def test_schema_has_the_keys_that_the_loader_reads() -> None:
    assert RULE["properties"].keys() == RULE_READERS.keys()


def test_every_key_is_described() -> None:
    assert all(fragment["description"] for fragment in RULE["properties"].values())


def test_copy_in_the_docs_is_up_to_date() -> None:
    copy = (ROOT / "docs/policy.schema.json").read_text()
    assert copy == schema.text(), "run: python -m policy.language.schema > docs/policy.schema.json"


def test_shipped_file_names_the_schema_to_editors() -> None:
    line = "# yaml-language-server: $schema=/usr/share/xensnd/policy.schema.json\n"
    assert (ROOT / "policy/defaults/90-default.yaml").read_text().startswith(line)
