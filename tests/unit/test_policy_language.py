"""What a policy file may contain, and the exact message for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.language.loader import parse
from policy.model import Verb
from xensnd.errors import PolicyError

FILE = Path("30-user.yaml")
HEAD = "version: 1\nrules:\n"
WRITE_ONE = "write allow, deny or ask"
NAME = "write a name, or a glob in quotes such as 'work-*'"
KNOWN = (
    "known keys: guest, playback, capture, max-volume, on-deny, device, monitor, formats, "
    "rates, max-streams, max-buffer, max-memory, budget, latency, from, until, for, once, taken-by"
)
ITEMS = "(start each item with '- ', or write 'rules: []' for none)"
INDENT = "check the indentation, and that quotes and brackets are closed"


def said(text: str) -> list[tuple[str, str | None, str | None]]:
    return [(rule.guest, rule.playback, rule.capture) for rule in parse(text.encode(), FILE)]


def mistake(octets: bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        parse(octets, FILE)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix("30-user.yaml:")


def test_each_rule_has_its_verbs_and_its_location() -> None:
    text = (
        "# mine\n" + HEAD + "  - guest: work-1\n    capture: allow\n  - {guest: x, playback: deny}"
    )
    first, second = parse(text.encode(), FILE)
    assert (first.guest, first.playback, first.capture) == ("work-1", None, Verb.ALLOW)
    assert (first.file, first.line, first.column) == (FILE, 4, 5)
    assert (first.text, first.source) == ("guest: work-1, capture: allow", "30-user.yaml:4")
    assert (second.line, second.text) == (6, "guest: x, playback: deny")


@pytest.mark.parametrize(
    "guest", ["no", "12:30", "0777", "null", "~", "1e3", "1:b", "Büro", "-x", "?x", "=", "a b"]
)
def test_guest_is_the_text_as_written_and_not_converted(guest: str) -> None:
    assert said(HEAD + f"  - guest: {guest}\n    capture: deny\n") == [(guest, None, "deny")]


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nrules: [{guest: a, capture: deny}]",
        '{"version": 1, "rules": [{"guest": "a", "capture": "deny"}]}',
        "---\nrules:\n- capture: 'deny'\n  guest: a\nversion: 1\n...\n",
        "version: 1\r\nrules:\r\n  - guest: a # c\r\n    capture: deny\r\n",
        "version: 1\nrules:\n  -\n    ? guest\n    : a\n    ? capture\n    : deny\n",
    ],
)
def test_layout_is_free(text: str) -> None:
    assert said(text) == [("a", None, "deny")]


def test_rules_may_be_empty() -> None:
    assert said("version: 1\nrules: []\n") == []


EMPTY = "1:1: the file has no policy in it (write 'version: 1' and 'rules: []', or remove the file)"

WHOLE_FILE = {
    "": EMPTY,
    "# a\n\n": EMPTY,
    "- a": "1:1: a policy file must be a mapping, got a list (known keys: version, rules)",
    "x": "1:1: a policy file must be a mapping, got 'x' (known keys: version, rules)",
    "~": "1:1: a policy file must be a mapping, got '~' (known keys: version, rules)",
    "# a\nrules: []": "2:1: version is missing (write 'version: 1')",
    "version: 1": "1:1: rules is missing (write 'rules: []')",
    "version: 1\nrules:\n": "2:7: rules is empty (write 'rules: []' for none)",
    "version: 1\nrules: x": f"2:8: rules must be a list, got 'x' {ITEMS}",
    "version: 1\nrules: {guest: a}": f"2:8: rules must be a list, got a mapping {ITEMS}",
    "version: 2": "1:10: version '2' is not known to this xensnd (write 'version: 1')",
    "version: 1.0": "1:10: version '1.0' is not known to this xensnd (write 'version: 1')",
    "version: '1'": "1:10: version must be a number without quotes (write 'version: 1')",
    "version: [1]": "1:10: version must be one word or name, got a list (write 'version: 1')",
    "version:": "1:9: version is empty (write 'version: 1')",
    "version: 1\nrulse: []": "2:1: unknown key 'rulse' (did you mean 'rules'?)",
    "version: 1\ncolour: red": "2:1: unknown key 'colour' (known keys: version, rules)",
    "version: 1\nversion: 1": "2:1: duplicate key 'version' (first on line 1)",
    "version: 1\nrules: []\n---\nrules: []": (
        "3:1: a second document starts here (move it to a file of its own)"
    ),
    "%YAML 1.1\n---\nversion: 1": "1:1: %-directives are not allowed (remove the line)",
    "[" * 100_000: "1:9: nested deeper than 8 levels",
    "- " * 100_000: "1:17: nested deeper than 8 levels",
    "? " * 100_000: "1:17: nested deeper than 8 levels",
    "[a, b\n": f"2:1: not valid YAML: did not find expected ',' or ']' ({INDENT})",
    "a: 'b\nc: d\n": "1:4: the quote that opens here is not closed (close it on the same line)",
    'a: "\\z"': f"1:5: not valid YAML: found unknown escape character ({INDENT})",
}

ONE_RULE = {
    "captur: allow": "4:5: unknown key 'captur' (did you mean 'capture'?)",
    "Playback: allow": "4:5: unknown key 'Playback' (did you mean 'playback'?)",
    "zzz: allow": f"4:5: unknown key 'zzz' ({KNOWN})",
    "<<: {capture: allow}": (
        "4:5: unknown key '<<' (merge keys are not allowed; write the keys in full)"
    ),
    "guest: b": "4:5: duplicate key 'guest' (first on line 3)",
    "[a]: b": f"4:5: a key must be a word, got a list ({KNOWN})",
    "capture: yes": "4:14: capture: 'yes' is not allow, deny or ask (write allow)",
    "capture: True": "4:14: capture: 'True' is not allow, deny or ask (write allow)",
    "capture: no": "4:14: capture: 'no' is not allow, deny or ask (write deny)",
    "playback: off": "4:15: playback: 'off' is not allow, deny or ask (write deny)",
    "capture: null": f"4:14: capture: 'null' is not allow, deny or ask ({WRITE_ONE})",
    "capture: ~": f"4:14: capture: '~' is not allow, deny or ask ({WRITE_ONE})",
    "capture: 1": f"4:14: capture: '1' is not allow, deny or ask ({WRITE_ONE})",
    "capture: aks": "4:14: capture: 'aks' is not allow, deny or ask (did you mean 'ask'?)",
    "capture: alow": "4:14: capture: 'alow' is not allow, deny or ask (did you mean 'allow'?)",
    "capture: Deny": "4:14: capture: 'Deny' is not allow, deny or ask (did you mean 'deny'?)",
    "capture:": f"4:13: capture is empty ({WRITE_ONE})",
    "capture: [allow]": f"4:14: capture must be one word or name, got a list ({WRITE_ONE})",
    "capture: {a: b}": f"4:14: capture must be one word or name, got a mapping ({WRITE_ONE})",
    "capture: |-\n      allow": f"4:14: capture must be on one line ({WRITE_ONE})",
    "capture: &x allow": "4:14: anchors are not allowed: '&x' (write the value in full)",
    "capture: *x": (
        "4:14: aliases are not allowed (a name that starts with * needs quotes, such as '*-work')"
    ),
    "capture: !!str allow": (
        "4:14: tags are not allowed: '!!str' (quote a value that starts with !)"
    ),
    "capture: ! allow": "4:14: tags are not allowed: '!' (quote a value that starts with !)",
    "  capture: allow": (
        "4:14: not valid YAML: mapping values are not allowed in this context "
        "(indent it like the lines around it; quote a value that has a colon)"
    ),
    "# only a comment": (
        "3:5: the rule names no direction (add playback: or capture: with allow, deny or ask)"
    ),
}

GUESTS = {
    "*": (
        "3:13: not valid YAML: did not find expected alphabetic or numeric character "
        "(a name that starts with * needs quotes: '*')"
    ),
    "*work": (
        "3:12: aliases are not allowed (a name that starts with * needs quotes, such as '*-work')"
    ),
    "@x": (
        "3:12: not valid YAML: found character that cannot start any token "
        "(indent with spaces, not tabs; quote a value that starts with @, % or `)"
    ),
    "a: b": (
        "3:13: not valid YAML: mapping values are not allowed in this context "
        "(indent it like the lines around it; quote a value that has a colon)"
    ),
    "": f"3:11: guest is empty ({NAME})",
    "''": f"3:12: guest '' is empty ({NAME})",
    "' a'": f"3:12: guest ' a' starts or ends with a space ({NAME})",
    "[a, b]": f"3:12: guest must be one word or name, got a list ({NAME})",
    "a\n     b": f"3:12: guest must be on one line ({NAME})",
    '"a\\0b"': f"3:12: guest 'a\\x00b' has a character that cannot be printed ({NAME})",
    '"a\\nb"': f"3:12: guest 'a\\nb' has a character that cannot be printed ({NAME})",
    '"a\\u202eb"': f"3:12: guest 'a\\u202eb' has a character that cannot be printed ({NAME})",
    "a" * 64: f"3:12: guest '{'a' * 40}'... has 64 characters, at most 63 are allowed ({NAME})",
}

OCTETS = {
    b"\xef\xbb\xbfversion: 1": (
        "1:1: character U+FEFF (BOM) is not allowed (save the file as UTF-8 without BOM)"
    ),
    b"version: 1\n#\x00": "2:2: character U+0000 (NUL) is not allowed (remove it)",
    b"version: 1\nrules\xff": "2:6: octet 0xFF is not UTF-8 (save the file as UTF-8)",
    "Büro: ".encode("latin-1"): "1:2: octet 0xFC is not UTF-8 (save the file as UTF-8)",
    b"v\x00\x00\x00": "1:2: character U+0000 (NUL) is not allowed (remove it)",
    b"# a\rversion: 1": (
        "1:4: character U+000D (carriage return without line feed) is not allowed (remove it)"
    ),
    "# a\u2028version: 1".encode(): (
        "1:4: character U+2028 (invisible) is not allowed (remove it)"
    ),
    "# a\u202eversion: 1".encode(): (
        "1:4: character U+202E (invisible) is not allowed (remove it)"
    ),
}


@pytest.mark.parametrize(("text", "message"), WHOLE_FILE.items())
def test_file_that_is_not_a_policy_is_refused(text: str, message: str) -> None:
    assert mistake(text.encode()) == message


@pytest.mark.parametrize(("line", "message"), ONE_RULE.items())
def test_rule_with_a_mistake_is_refused(line: str, message: str) -> None:
    assert mistake((HEAD + f"  - guest: a\n    {line}\n").encode()) == message


@pytest.mark.parametrize(("guest", "message"), GUESTS.items())
def test_invalid_guest_is_refused(guest: str, message: str) -> None:
    assert mistake((HEAD + f"  - guest: {guest}\n    capture: deny\n").encode()) == message


@pytest.mark.parametrize(("octets", "message"), OCTETS.items())
def test_octets_that_are_not_plain_text_are_refused(octets: bytes, message: str) -> None:
    assert mistake(octets) == message


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("capture: allow", "3:5: guest is missing (write guest: NAME, or guest: '*' for all)"),
        ("work", f"3:5: a rule must be a mapping, got 'work' ({KNOWN})"),
        ("", f"3:4: a rule must be a mapping, got nothing ({KNOWN})"),
        ("[a]", f"3:5: a rule must be a mapping, got a list ({KNOWN})"),
        ("guest: a\n\tcapture: allow", "4:1: not valid YAML: found a tab character that violates "
         "indentation (indent with spaces, not tabs; quote a value that starts with @, % or `)"),
    ],
)  # fmt: skip
def test_item_that_is_not_a_rule_is_refused(item: str, message: str) -> None:
    assert mistake((HEAD + f"  - {item}\n").encode()) == message


def test_more_rules_than_anyone_needs_are_refused() -> None:
    text = HEAD + "- {guest: a, capture: deny}\n" * 10_001
    assert mistake(text.encode()) == "10003:3: more than 10000 rules in one file (use globs)"
    assert len(parse(text.encode()[:-28], FILE)) == 10_000


def test_only_the_first_mistake_of_a_file_is_reported() -> None:
    text = HEAD + "- guest: a\n  captur: allow\n- guest: b\n  capture: alow\nrulse: []\n"
    assert mistake(text.encode()) == "4:3: unknown key 'captur' (did you mean 'capture'?)"
