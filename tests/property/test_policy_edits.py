"""For any policy, an edit changes only what was asked; all else stays octet for octet."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from policy.edit.conflicts import Overlap, Subject
from policy.edit.editor import EditContext, set_verb
from policy.engine import decide
from policy.language.loader import load, parse
from policy.matching import applies_to, quote
from policy.model import Decision, Direction, GuestIdentity, Policy, Verb
from policy.paths import USER_FILE, PolicyPaths

NAMES = ["work", "work-1", "mail", "no", "it's", "1: b", "\U0001f3a4"]
GLOBS = ["*", "work*", "work-?", "[!w]*", "*l"]
SETS = ["tag:calls", "label:red", "uuid:0a1b2c3d-0000-4000-8000-0123456789ab"]
CONDITIONS = {
    "max-volume": "80%",
    "on-deny": "refuse",
    "max-streams": "2",
    "until": "2999-12-31T00:00Z",
    "from": "2999-01-01T00:00Z",
}
LATER = [datetime(2999, 6, 1, tzinfo=UTC), datetime(3000, 6, 1, tzinfo=UTC)]
KNOWN = [
    GuestIdentity(name, uuid, label, tags)
    for name in [*NAMES, "other", "mol"]
    for uuid, label, tags in (
        ("ffffffff-0000-4000-8000-0123456789ab", "", frozenset[str]()),
        ("0a1b2c3d-0000-4000-8000-0123456789ab", "red", frozenset({"calls"})),
    )
]

comments = st.sampled_from(["", " ", " # note", "   # '*': [x, \U0001f3a4"])
between = st.sampled_from(["", "", "\n", "# - guest: work\n", "      # capture: deny\n\n", "  \n"])
guests = st.sampled_from(NAMES + GLOBS + SETS)
verbs = st.sampled_from(Verb)
directions = st.sampled_from(Direction)


@dataclass
class Layout:
    indent: str
    dash: str  # what stands between the dash and the first key
    newline: str


@st.composite
def written_scalar(draw: st.DrawFn, text: str) -> str:
    plain = quote(text)
    if plain == text and draw(st.booleans()):
        return draw(st.sampled_from([f"'{text}'", f'"{text}"']))
    return plain


@st.composite
def written_rule(draw: st.DrawFn, layout: Layout, braces: bool) -> str:
    keys = {"guest": draw(guests)}
    keys |= draw(st.dictionaries(directions, verbs, min_size=1))
    keys |= {key: CONDITIONS[key] for key in draw(st.sets(st.sampled_from([*CONDITIONS])))}
    order = draw(st.permutations(list(keys)))
    gap = draw(st.sampled_from([" ", "   "]))
    pairs = [f"{key}:{gap}{draw(written_scalar(str(keys[key])))}" for key in order]
    if braces:
        comma = draw(st.sampled_from([", ", " ,", ",\n          "]))
        return "{" + draw(st.sampled_from(["", " "])) + comma.join(pairs) + "}"
    below = " " * len((layout.indent + "-" + layout.dash).rpartition("\n")[2])
    lines = [pairs[0], *(below + pair for pair in pairs[1:])]
    return "\n".join(line + draw(comments) for line in lines)


@st.composite
def policies(draw: st.DrawFn) -> str:
    """The text of a good policy file, in an odd layout."""
    indent = draw(st.sampled_from(["", "  ", "     "]))
    dash = draw(st.sampled_from([" ", "   ", f"\n{indent}    "]))
    layout = Layout(indent, dash, draw(st.sampled_from(["\n", "\n", "\r\n"])))
    count = draw(st.integers(0, 5))
    text = draw(between) + "version: 1" + draw(comments) + "\n" + draw(between)
    if count == 0 or draw(st.integers(0, 3)) == 0:
        rules = [draw(written_rule(layout, True)) for _ in range(count)]
        inner = draw(st.sampled_from([", ", ",\n  ", " ,  "])).join(rules)
        text += f"rules: [{inner}{draw(st.sampled_from(['', ' ']))}]" + draw(comments) + "\n"
    else:
        text += "rules:" + draw(comments) + "\n"
        for _ in range(count):
            braces = draw(st.booleans()) and "\n" not in dash
            rule = draw(written_rule(layout, braces))
            text += draw(between) + indent + "-" + dash + rule + "\n"
    text += draw(between)
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    return text.replace("\n", layout.newline)


def decisions(policy: Policy) -> dict[tuple[GuestIdentity, Direction], Decision]:
    return {
        (guest, direction): decide(policy, guest, direction)
        for guest in KNOWN
        for direction in Direction
    }


A_VERB = re.compile(r"""(['"]?)\b(allow|deny|ask)\b\1""")


def is_one_change(old: str, new: str, verb: Verb) -> bool:
    """Is it the old text with one verb replaced, or with something put in at one place?"""
    replaced = any(
        old[: found.start()] + verb + old[found.end() :] == new for found in A_VERB.finditer(old)
    )
    start = common_start(old, new)
    put_in = len(new) > len(old) and new.endswith(old[start:])
    return new == old or replaced or put_in


def common_start(one: str, other: str) -> int:
    return len([*takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))])


@settings(max_examples=250)
@given(policies(), guests, directions, verbs)
def test_edit_changes_only_what_was_asked(
    text: str, guest: str, direction: Direction, verb: Verb
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, path = Path(name), Path(name) / USER_FILE
        path.write_bytes(text.encode())
        path.chmod(0o644)
        before = load([directory])
        edit = set_verb(EditContext(PolicyPaths([directory])), guest, direction, verb)
        after = load([directory])
        new = path.read_bytes().decode()
        assert not [left for left in directory.iterdir() if left.name.endswith(".new")]

    assert edit.rule.verb(direction) is verb
    assert Subject.of(guest).overlap_with(edit.rule.guest) is Overlap.ALL
    assert is_one_change(text, new, verb)
    assert len(after.rules) - len(before.rules) in (0, 1)

    otherwise = [rule.guest for rule in edit.exceptions]
    for (one, asked), was in decisions(before).items():
        now = decide(after, one, asked)
        if asked is not direction or not applies_to(guest, one):
            assert now.verb is was.verb
            assert now.options == was.options
        elif not any(applies_to(exception, one) for exception in otherwise):
            assert now.verb is verb
            for later in LATER:
                assert decide(after, one, asked, later).verb is verb


@settings(max_examples=100)
@given(policies(), guests, directions, verbs)
def test_edit_made_twice_is_made_once(
    text: str, guest: str, direction: Direction, verb: Verb
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / USER_FILE
        path.write_bytes(text.encode())
        path.chmod(0o644)
        set_verb(EditContext(PolicyPaths([Path(name)])), guest, direction, verb)
        once = path.read_bytes()
        set_verb(EditContext(PolicyPaths([Path(name)])), guest, direction, verb)
        assert path.read_bytes() == once
        assert parse(once, path)
