"""What the documents say of policy is what the code does."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from policy.cli.main import parser
from policy.language import identities, platform
from policy.language.loader import parse
from policy.language.rules import RULE_READERS
from xensnd.errors import PolicyError

DOCS = Path(__file__).parents[2] / "docs"
POLICY = (DOCS / "policy.md").read_text()
LANGUAGE_PAGE = (DOCS / "man/xensnd-policy.yaml.5.md").read_text()
COMMAND_PAGE = (DOCS / "man/xensnd-policy.1.md").read_text()
FENCED = re.findall(r"```yaml\n(.*?)```", POLICY, re.DOTALL)
INDENTED = [
    textwrap.dedent(block) for block in re.findall(r"((?:^    .*\n)+)", LANGUAGE_PAGE, re.MULTILINE)
]
COMMANDS = re.findall(r"^    ([a-z-]+)(?:  |$)", parser().format_help(), re.MULTILINE)


@pytest.mark.parametrize("example", [*FENCED, *INDENTED])
def test_example_is_good(example: str) -> None:
    is_tags = "guests:" in example
    read_guests = platform.parse if "class: " in example else identities.parse
    read = read_guests if is_tags else parse
    assert read(example.encode(), Path("tags.yaml" if is_tags else "30-user.yaml"))


@pytest.mark.parametrize("key", RULE_READERS)
def test_every_key_is_documented(key: str) -> None:
    assert f"`{key}`" in POLICY
    assert f"\n**{key}:** " in LANGUAGE_PAGE


def test_every_command_is_documented() -> None:
    assert len(COMMANDS) == 18
    for command in COMMANDS:
        assert f"`{command}" in POLICY
        assert f"**{command}**" in COMMAND_PAGE


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("  capture: allow\n  captur: allow", "unknown key 'captur' (did you mean 'capture'?)"),
        ("  capture: yes", "capture: 'yes' is not allow, deny or ask (write allow)"),
        ("  max-streams: 1",
         "the rule names no direction (add playback: or capture: with allow, deny or ask)"),
        ("  capture: ask\n  max-volume: 80",
         "max-volume: '80' is not 1% to 100% (write such as 80%; for no sound, deny playback)"),
        ("  capture: ask\n  playback: ask\n  device: a", "device is a sink or a source, but the "
         "rule names both playback and capture (write two rules)"),
        ("  capture: ask\n  until: 18:00", "until: '18:00' is a time without a date (write a "
         "date too, such as 2026-11-20T18:00, or add from:)"),
        ("  capture: ask\n  for: 30m", "for needs from: as its start (add from:, or "
         "write until: instead, or use xensnd-policy with --for)"),
        ("  capture: ask\n  once: true", "once is allowed in temporary grants only (remove "
         "it, and use xensnd-policy allow-capture GUEST --once)"),
    ],
)  # fmt: skip
def test_message_is_documented_as_it_is(lines: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(f"version: 1\nrules:\n- guest: a\n{lines}\n".encode(), Path("a.yaml"))
    assert str(caught.value).endswith(f": {message}")
    assert f": {message}`" in POLICY
