"""The tags file: which guest has which tags, and the exact message for each mistake in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policy.language.identities import NAMES_ALONE, load, parse
from policy.matching import GuestIdentity
from xensnd.errors import PolicyError

FILE = Path("tags.yaml")
HEAD = "version: 1\nguests:\n"
UUID = "0a1b2c3d-0000-4000-8000-0123456789ab"


def mistake(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        parse(text.encode(), FILE)
    return str(caught.value).removeprefix("tags.yaml:")


TAGS = parse(
    (
        HEAD + "- {guest: work, label: blue, tags: [calls]}\n"
        "- {guest: 'w*', label: red, tags: [office, calls]}\n- {guest: home, label: green}\n"
    ).encode(),
    FILE,
)


def test_guest_has_the_first_label_and_all_tags_of_the_entries_that_match_it() -> None:
    assert TAGS.guest("work") == GuestIdentity("work", None, "blue", frozenset({"calls", "office"}))
    assert TAGS.guest("web", UUID) == GuestIdentity(
        "web", UUID, "red", frozenset({"calls", "office"})
    )
    assert TAGS.guest("home") == GuestIdentity("home", None, "green", frozenset())


def test_guest_that_no_entry_matches_has_no_tags_and_no_label() -> None:
    assert TAGS.guest("other") == GuestIdentity("other", None, "", frozenset())


def test_without_a_file_tags_and_labels_are_not_known(tmp_path: Path) -> None:
    assert load(tmp_path / "tags.yaml") is NAMES_ALONE
    assert NAMES_ALONE.guest("work", "") == GuestIdentity("work", None, None, None)


def test_entry_with_a_uuid_leaves_tags_unknown_until_the_uuid_is_known() -> None:
    tags = parse((HEAD + f"- {{guest: uuid:{UUID}, tags: [untrusted]}}\n").encode(), FILE)
    assert tags.guest("work") == GuestIdentity("work")
    assert tags.guest("work", UUID) == GuestIdentity("work", UUID, "", frozenset({"untrusted"}))


MISTAKES = {
    "": "1:1: the file has no tags in it (write 'version: 1' and 'guests: []', or remove the file)",
    "guests: []": "1:1: version is missing (write 'version: 1')",
    "version: 1": "1:1: guests is missing (write 'guests: []')",
    "version: 1\nguests: {a: b}": (
        "2:9: guests must be a list, got a mapping "
        "(start each item with '- ', or write 'guests: []' for none)"
    ),
    HEAD + "- {guest: a}": "3:3: the entry has no label and no tags (add label: or tags:)",
    HEAD + "- {label: red}": "3:3: guest is missing (write guest: NAME)",
    HEAD + "- {guest: a, lable: red}": "3:14: unknown key 'lable' (did you mean 'label'?)",
    HEAD + "- {guest: a, tags: calls}": (
        "3:20: tags must be a list, got 'calls' (write [one, another])"
    ),
    HEAD + "- {guest: a, tags: [a b]}": (
        "3:21: tags: 'a b' may only have letters, digits, '_', '-' and '.' (write one word)"
    ),
    HEAD + "- {guest: a, tags: [x, x]}": "3:24: tags: 'x' appears twice (remove one)",
    HEAD + "- {guest: tag:a, tags: [x]}": (
        "3:11: guest 'tag:a' starts with tag:, which this file itself defines "
        "(write a name, a glob in quotes such as 'work-*', or uuid:)"
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items())
def test_mistake_in_the_tags_file_is_reported(text: str, message: str) -> None:
    assert mistake(text) == message


def test_tags_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tags.yaml"
    path.write_text("version: 1\nguests: []\n")
    path.chmod(0o666)
    with pytest.raises(PolicyError, match="mode 0666, so others could change it"):
        load(path)


def test_tags_file_that_is_a_broken_link_is_refused(tmp_path: Path) -> None:
    os.symlink("nothing", tmp_path / "tags.yaml")
    with pytest.raises(PolicyError, match="a broken link"):
        load(tmp_path / "tags.yaml")
