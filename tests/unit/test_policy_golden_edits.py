"""Edits, exactly: the text before, and the text after `work` was allowed to record."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.edit.editor import EditContext, set_verb
from policy.engine import decide
from policy.language.loader import load
from policy.model import Direction, GuestIdentity, Verb
from policy.paths import USER_FILE, PolicyPaths

HEAD = "version: 1\nrules:\n"
UUID = "0a1b2c3d-0000-4000-8000-0123456789ab"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "policy.d"
    directory.mkdir(mode=0o755)
    return directory


def after(directory: Path, text: str, guest: str = "work") -> str:
    """The user's file once `guest` is allowed to record."""
    path = directory / USER_FILE
    path.write_bytes(text.encode())
    path.chmod(0o644)
    set_verb(EditContext(PolicyPaths([directory])), guest, Direction.CAPTURE, Verb.ALLOW)
    known = GuestIdentity(guest, UUID, "", frozenset({"calls"}))
    assert decide(load([directory]), known, Direction.CAPTURE).verb is Verb.ALLOW
    return path.read_bytes().decode()


GOLDEN = {
    "the verb is changed in place, comments and layout stay": (
        "# top\nversion: 1\n\nrules:   # all\n  # calls\n  -  guest:   work   # me\n"
        "     capture:   deny   # flip\n\n  # rest\n  - guest: x\n    capture: deny\n# end\n",
        "# top\nversion: 1\n\nrules:   # all\n  # calls\n  -  guest:   work   # me\n"
        "     capture:   allow   # flip\n\n  # rest\n  - guest: x\n    capture: deny\n# end\n",
    ),
    "a quoted verb becomes a plain one": (
        HEAD + "- guest: work\n  capture: 'deny' # c\n",
        HEAD + "- guest: work\n  capture: allow # c\n",
    ),
    "a missing direction is added below the rule's last key": (
        HEAD
        + "  - guest: work # me\n    playback: deny # quiet\n\n  - guest: x\n    capture: deny",
        HEAD + "  - guest: work # me\n    playback: deny # quiet\n    capture: allow\n\n"
        "  - guest: x\n    capture: deny",
    ),
    "a rule is appended below the last, with the same indentation": (
        HEAD + "    - guest: x\n      capture: deny  # no\n# end\n",
        HEAD + "    - guest: x\n      capture: deny  # no\n    - guest: work\n"
        "      capture: allow\n# end\n",
    ),
    "a list without indentation stays so": (
        "rules:\n- guest: x\n  capture: deny\nversion: 1\n",
        "rules:\n- guest: x\n  capture: deny\n- guest: work\n  capture: allow\nversion: 1\n",
    ),
    "a file without a newline at its end gets none there": (
        HEAD + "- guest: x\n  capture: deny",
        HEAD + "- guest: x\n  capture: deny\n- guest: work\n  capture: allow",
    ),
    "a file of CRLF lines stays one": (
        "version: 1\r\nrules:\r\n  - guest: x\r\n    capture: deny\r\n",
        "version: 1\r\nrules:\r\n  - guest: x\r\n    capture: deny\r\n"
        "  - guest: work\r\n    capture: allow\r\n",
    ),
    "a rule in braces is changed inside them": (
        HEAD + "- {guest: work, playback: deny, } # c\n",
        HEAD + "- {guest: work, playback: deny, capture: allow, } # c\n",
    ),
    "a rule is appended below one in braces over several lines": (
        HEAD + "- {guest: x,\n   playback: deny\n  } # c\n",
        HEAD + "- {guest: x,\n   playback: deny\n  } # c\n- guest: work\n  capture: allow\n",
    ),
    "an empty list gets its first rule": (
        "version: 1\nrules: []  # none\n",
        "version: 1\nrules: [{guest: work, capture: allow}]  # none\n",
    ),
    "a rule is added inside brackets": (
        "version: 1\nrules: [\n  {guest: x, capture: deny}, # c\n]\n",
        "version: 1\nrules: [\n  {guest: x, capture: deny}, "
        "{guest: work, capture: allow}, # c\n]\n",
    ),
    "inside brackets a rule is added above the one that overrides": (
        "version: 1\nrules: [\n  {guest: '*', capture: deny} # c\n]\n",
        "version: 1\nrules: [\n  {guest: work, capture: allow}, "
        "{guest: '*', capture: deny} # c\n]\n",
    ),
    "a rule is added directly above a glob, which keeps its comment": (
        HEAD + "  # mail\n  - guest: mail\n    capture: deny\n  # the rest\n  - guest: '*'\n"
        "    capture: deny\n",
        HEAD + "  # mail\n  - guest: mail\n    capture: deny\n  - guest: work\n    capture: allow\n"
        "  # the rest\n  - guest: '*'\n    capture: deny\n",
    ),
    "a rule is added above a glob at the top, below the key": (
        HEAD + "  # the rest\n  -\n    guest: '*'\n    capture: deny\n",
        HEAD + "  - guest: work\n    capture: allow\n  # the rest\n  -\n    guest: '*'\n"
        "    capture: deny\n",
    ),
    "a rule below a glob stays, and one is added above the glob": (
        HEAD + "- guest: '*'\n  capture: deny\n- guest: work\n  capture: deny\n",
        HEAD + "- guest: work\n  capture: allow\n- guest: '*'\n  capture: deny\n- guest: work\n"
        "  capture: deny\n",
    ),
    "of two rules for the guest, the one that names the direction is changed": (
        HEAD + "- guest: work\n  playback: deny\n- guest: work\n  capture: deny\n",
        HEAD + "- guest: work\n  playback: deny\n- guest: work\n  capture: allow\n",
    ),
    "a document between markers keeps them": (
        "---\n" + HEAD + "- guest: x\n  capture: deny\n...\n",
        "---\n" + HEAD + "- guest: x\n  capture: deny\n- guest: work\n  capture: allow\n...\n",
    ),
    "a verb that applies already is not changed": (
        HEAD + "- {guest: work, capture: 'allow'}\n- guest: '*'\n  capture: deny\n",
        HEAD + "- {guest: work, capture: 'allow'}\n- guest: '*'\n  capture: deny\n",
    ),
    "a verb changed in place keeps the limits of its rule": (
        HEAD + "- guest: work\n  capture: deny\n  max-streams: 1 # c\n",
        HEAD + "- guest: work\n  capture: allow\n  max-streams: 1 # c\n",
    ),
    "a new rule gets the limits that apply already": (
        HEAD + "- guest: '*'\n  capture: ask\n  device: mic\n  max-buffer: 65536\n",
        HEAD + "- guest: work\n  capture: allow\n  device: mic\n  max-buffer: 64KiB\n"
        "- guest: '*'\n  capture: ask\n  device: mic\n  max-buffer: 65536\n",
    ),
    "a rule with other limits does not get the other direction": (
        HEAD + "- {guest: work, playback: allow, max-volume: 50%}\n",
        HEAD + "- {guest: work, playback: allow, max-volume: 50%}\n- guest: work\n"
        "  capture: allow\n",
    ),
    "a rule that ends stays, and a permanent one is added above its opposite": (
        HEAD + "- {guest: work, capture: deny, until: 2999-01-01T00:00Z}\n",
        HEAD + "- guest: work\n  capture: allow\n"
        "- {guest: work, capture: deny, until: 2999-01-01T00:00Z}\n",
    ),
    "a rule with the same verb that ends is not enough": (
        HEAD + "- {guest: work, capture: allow, until: 2999-01-01T00:00Z}\n",
        HEAD + "- {guest: work, capture: allow, until: 2999-01-01T00:00Z}\n- guest: work\n"
        "  capture: allow\n",
    ),
    "a rule that has ended is not changed and does not override": (
        HEAD + "- {guest: work, capture: deny, until: 2001-01-01T00:00Z}\n",
        HEAD + "- {guest: work, capture: deny, until: 2001-01-01T00:00Z}\n- guest: work\n"
        "  capture: allow\n",
    ),
    "a rule is added directly above one for a tag that might match": (
        HEAD + "- {guest: tag:calls, capture: deny}\n",
        HEAD + "- guest: work\n  capture: allow\n- {guest: tag:calls, capture: deny}\n",
    ),
    "characters of four octets do not shift the location": (
        "# \U0001f3a4\u00e9\n" + HEAD + "- guest: '\U0001f3a4'\n  capture: deny\n- guest: work\n"
        "  capture: deny # \U0001f3a4\n",
        "# \U0001f3a4\u00e9\n" + HEAD + "- guest: '\U0001f3a4'\n  capture: deny\n- guest: work\n"
        "  capture: allow # \U0001f3a4\n",
    ),
}


@pytest.mark.parametrize(("before", "expected"), GOLDEN.values(), ids=GOLDEN.keys())
def test_golden_edit(directory: Path, before: str, expected: str) -> None:
    assert after(directory, before) == expected


@pytest.mark.parametrize(
    ("guest", "written"),
    [("no", "'no'"), ("12:30", "'12:30'"), ("*x", "'*x'"), ("1: b", "'1: b'"), ("a #b", "'a #b'"),
     ("it's", "'it''s'"), ("B\u00fcro", "'B\u00fcro'"), ("a, b]", "'a, b]'")],
)  # fmt: skip
def test_guest_is_quoted_as_yaml_needs_it(directory: Path, guest: str, written: str) -> None:
    base = HEAD + "- guest: x\n  capture: deny\n"
    assert after(directory, base, guest) == base + f"- guest: {written}\n  capture: allow\n"
    flow = "version: 1\nrules: []\n"
    assert after(directory, flow, guest) == flow.replace(
        "[]", f"[{{guest: {written}, capture: allow}}]"
    )
