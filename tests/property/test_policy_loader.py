"""No text makes the loader raise anything but PolicyError, and both YAML parsers see the same."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policy.language import identities, rules
from policy.language.loader import load, parse, problems
from policy.matching import find_mistake, quote
from policy.model import Rule
from policy.text import nodes
from xensnd.errors import PolicyError

FILE = Path("30-user.yaml")

TOKENS = [
    "version", "1", "rules", "guest", "capture", "playback", "allow", "deny", ": ", ":", "- ", "-",
    "\n", "\n  ", "\n    ", "\n\t", " ", "#", "'", '"', "[", "]", "{", "}", ", ", "&a ", "*a", "*",
    "!", "!!str ", "|", ">-", "? ", "<<", "---", "...", "%YAML 1.1", "\r\n", "~", "@", "`", "\\",
    "ask", "max-volume", "80%", "formats", "rates", "until", "from", "for", "30m", "once",
    "true", "2026-11-20T18:00", "9999-12-31T23:59Z", "0001-01-01T00:00", "tag:", "uuid:x", "label",
    '"\\uD800"', '"\\UFFFFFFFF"', "\u00e9", "\U0001f3a4", "version: 1\nrules:\n", "- guest: a\n",
]  # fmt: skip

policy_like = st.lists(st.sampled_from(TOKENS), max_size=40).map("".join)
LOADERS = [yaml.SafeLoader, nodes._Loader]


def rules_or_problem(octets: bytes) -> tuple[Rule, ...] | str:
    try:
        return parse(octets, FILE)
    except PolicyError as problem:
        message = str(problem)
    assert message.startswith("30-user.yaml:")
    assert "\n" not in message
    return message


@given(st.binary(max_size=300))
def test_any_octets_are_rules_or_one_line(octets: bytes) -> None:
    rules_or_problem(octets)


@settings(max_examples=300)
@given(st.one_of(policy_like, st.text(max_size=100)), st.sampled_from(LOADERS))
@example("[" * 200_000, yaml.SafeLoader)
@example("{a: " * 200_000, yaml.SafeLoader)
@example("- " * 200_000, yaml.SafeLoader)
@example('"\\UFFFFFFFF"', yaml.SafeLoader)
@example("%YAML 1." + "9" * 5000 + "\n---\n", yaml.SafeLoader)
@example("%YAML 1." + "9" * 5000 + "\n---\n", nodes._Loader)
def test_any_text_is_rules_or_one_line_whichever_parser(text: str, loader: type) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "_Loader", loader)
        rules_or_problem(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=300)
@given(policy_like)
def test_rules_do_not_depend_on_the_parser(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        outcomes = []
        for loader in LOADERS:
            patch.setattr(nodes, "_Loader", loader)
            outcomes.append(rules_or_problem(text.encode()))
    if not any(isinstance(outcome, str) for outcome in outcomes):
        assert outcomes[0] == outcomes[1]


@settings(max_examples=30)
@given(st.dictionaries(st.text("0123-aeflmuy.#~", min_size=1, max_size=12), st.binary()))
def test_any_directory_is_a_policy_or_one_line(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for file, octets in files.items():
            if file not in (".", ".."):
                (Path(name) / file).write_bytes(octets)
        lines = problems([Path(name)])
        with pytest.raises(PolicyError) if lines else nullcontext():
            load([Path(name)])
    assert not any("\n" in line for line in lines)


@given(st.text(min_size=1, max_size=63))
def test_any_guest_is_quoted_so_that_it_reads_as_itself(guest: str) -> None:
    if find_mistake(guest) is None:
        assert yaml.safe_load(quote(guest)) == guest
        text = f"version: 1\nrules: [{{guest: {quote(guest)}, capture: allow}}]\n"
        assert parse(text.encode(), FILE)[0].guest == guest


@given(st.one_of(policy_like, st.text(max_size=100), st.binary(max_size=100)))
def test_any_tags_file_is_one_or_is_refused(text: str | bytes) -> None:
    octets = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    with suppress(PolicyError):
        identities.parse(octets, FILE)


VALUE = st.one_of(
    st.text(max_size=20), st.from_regex(r"[0-9]{0,12}[a-zA-Z%:.+-]{0,4}[0-9]{0,8}", fullmatch=True)
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(rules.RULE_READERS)), VALUE)
def test_any_value_of_any_key_is_a_rule_or_one_line(key: str, value: str) -> None:
    quoted_value = "'" + value.replace("'", "''") + "'"
    text = f"version: 1\nrules:\n- playback: allow\n  {key}: {quoted_value}\n  guest: a\n"
    rules_or_problem(text.encode("utf-8", "surrogatepass"))
    rules_or_problem(text.replace(quoted_value, f"[{quoted_value}]").encode("utf-8", "replace"))
