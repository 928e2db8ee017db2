"""An edit changes what was asked and nothing else, takes effect, or is refused in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from policy.edit import atomic
from policy.edit.editor import Edit, EditContext, set_verb
from policy.edit.rewrite import NEW_FILE
from policy.language.identities import Entry, TagsFile
from policy.language.loader import load
from policy.model import Direction, Verb
from policy.paths import USER_FILE, PolicyPaths
from xensnd.errors import PolicyError, UsageError

ALLOW, DENY = Verb.ALLOW, Verb.DENY
PLAYBACK, CAPTURE = Direction.PLAYBACK, Direction.CAPTURE
HEAD = "version: 1\nrules:\n"
UUID = "uuid:0a1b2c3d-0000-4000-8000-0123456789ab"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away: needs root")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "policy.d"
    directory.mkdir(mode=0o755)
    return directory


def put(directory: Path, text: str, name: str = USER_FILE) -> Path:
    path = directory / name
    path.write_bytes(text.encode())
    path.chmod(0o644)
    return path


def allow_capture(directory: Path, guest: str = "work") -> Edit:
    return set_verb(EditContext(PolicyPaths([directory])), guest, CAPTURE, ALLOW)


def refusal(directory: Path, guest: str = "work") -> str:
    before = {path: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    with pytest.raises(UsageError) as caught:
        allow_capture(directory, guest)
    for path, octets in before.items():
        assert path.read_bytes() == octets
    assert left_behind(directory) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left_behind(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.endswith(".new")]


def test_missing_file_is_created_with_a_comment_that_explains_it(directory: Path) -> None:
    old_umask = os.umask(0o077)
    try:
        edit = allow_capture(directory)
    finally:
        os.umask(old_umask)
    path = directory / USER_FILE
    assert path.read_text() == NEW_FILE + "  - guest: work\n    capture: allow\n"
    assert path.stat().st_mode & 0o7777 == 0o644
    assert edit.rule.source == f"{path}:6"


def test_second_edit_of_a_new_file_joins_the_rule(directory: Path) -> None:
    allow_capture(directory)
    set_verb(EditContext(PolicyPaths([directory])), "work", PLAYBACK, DENY)
    assert (directory / USER_FILE).read_text() == (
        NEW_FILE + "  - guest: work\n    capture: allow\n    playback: deny\n"
    )


def test_verb_that_applies_already_is_not_written_again(directory: Path) -> None:
    path = put(directory, HEAD + "- guest: work\n  capture: allow\n")
    before = path.stat()
    allow_capture(directory)
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_rule_of_an_earlier_file_that_overrides_is_named(directory: Path) -> None:
    site = put(directory, HEAD + "- guest: w*\n  capture: deny\n", "10-site.yaml")
    put(directory, HEAD + "- guest: work\n  playback: deny\n")
    assert refusal(directory) == (
        f"'work' would not get capture allow: {site}:3 comes before 30-user.yaml and says "
        "{guest: 'w*', capture: deny}; change that rule by hand"
    )


def test_nothing_is_created_if_an_earlier_file_overrides(directory: Path) -> None:
    put(directory, HEAD + "- guest: '*'\n  capture: deny\n", "10-site.yaml")
    refusal(directory)
    assert not (directory / USER_FILE).exists()


def test_earlier_file_with_the_same_verb_does_not_prevent_the_edit(directory: Path) -> None:
    site = put(directory, HEAD + "- guest: '*'\n  capture: allow\n", "10-site.yaml")
    assert allow_capture(directory).rule.source == f"{site}:3"
    assert "guest: work" in (directory / USER_FILE).read_text()


def test_later_files_are_overridden(directory: Path) -> None:
    put(directory, HEAD + "- guest: work\n  capture: deny\n", "90-default.yaml")
    assert allow_capture(directory).rule.file == directory / USER_FILE


def test_edit_of_a_glob_shows_the_rules_that_come_before_it(directory: Path) -> None:
    put(directory, HEAD + "- guest: work-mail\n  capture: deny\n")
    edit = allow_capture(directory, "work-*")
    assert (edit.rule.guest, edit.rule.line) == ("work-*", 5)
    assert [rule.guest for rule in edit.exceptions] == ["work-mail"]


def test_glob_put_above_a_wider_one_leaves_the_exceptions_above_it(directory: Path) -> None:
    base = HEAD + "- guest: work-mail\n  capture: deny\n- guest: '*'\n  capture: deny\n"
    path = put(directory, base)
    allow_capture(directory, "work-*")
    assert path.read_text() == (
        HEAD + "- guest: work-mail\n  capture: deny\n- guest: 'work-*'\n  capture: allow\n"
        "- guest: '*'\n  capture: deny\n"
    )


@pytest.mark.parametrize(
    ("guest", "message"),
    [
        ("", "guest '' is empty"),
        ("a\nb", "guest 'a\\nb' has a character that cannot be printed"),
        ("a\udcff", "guest 'a\\udcff' has a character that cannot be printed"),
        (" a", "guest ' a' starts or ends with a space"),
        ("a" * 64, f"guest '{'a' * 40}'... has 64 characters, at most 63 are allowed"),
    ],
)
def test_invalid_guest_is_refused(directory: Path, guest: str, message: str) -> None:
    assert refusal(directory, guest) == message
    assert list(directory.iterdir()) == []


def test_rule_of_an_earlier_file_that_might_override_is_reported(directory: Path) -> None:
    put(directory, HEAD + "- guest: tag:calls\n  capture: deny\n", "10-site.yaml")
    edit = allow_capture(directory)
    assert edit.rule.file == directory / USER_FILE
    assert [rule.guest for rule in edit.exceptions] == ["tag:calls"]


def test_rule_of_an_earlier_file_overrides_where_tags_say_so(directory: Path) -> None:
    put(directory, HEAD + "- guest: tag:calls\n  capture: deny\n", "10-site.yaml")
    tags = TagsFile((Entry("work", None, frozenset({"calls"})),))
    context = EditContext(PolicyPaths([directory]), tags)
    with pytest.raises(UsageError, match="would not get capture allow"):
        set_verb(context, "work", CAPTURE, ALLOW)
    assert set_verb(context, "home", CAPTURE, ALLOW).exceptions == ()


@pytest.mark.parametrize("guest", ["tag:calls", "label:red", UUID])
def test_edit_is_about_a_tag_a_label_or_a_uuid(directory: Path, guest: str) -> None:
    allow_capture(directory, guest)
    allow_capture(directory, guest)
    assert (directory / USER_FILE).read_text() == (
        NEW_FILE + f"  - guest: {guest}\n    capture: allow\n"
    )


@pytest.mark.parametrize("name", [USER_FILE, "10-other.yaml"])
def test_bad_policy_is_not_edited(directory: Path, name: str) -> None:
    put(directory, HEAD)
    path = put(directory, "x", name)
    with pytest.raises(PolicyError, match=r"must be a|is empty"):
        allow_capture(directory)
    assert path.read_text() == "x"


def test_layout_that_cannot_be_edited_is_refused(directory: Path) -> None:
    put(directory, "version: 1\n? rules\n: - guest: '*'\n    capture: deny\n")
    assert refusal(directory).endswith("; edit it by hand")


def test_link_is_neither_followed_nor_replaced(tmp_path: Path, directory: Path) -> None:
    target = put(tmp_path, HEAD + "- guest: x\n  capture: deny\n", "elsewhere")
    (directory / USER_FILE).symlink_to(target)
    assert refusal(directory) == (
        f"{directory}/30-user.yaml: a link; edit the file it points to by hand, "
        "or replace the link with a file"
    )
    assert (directory / USER_FILE).is_symlink()


def test_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such policy directory"):
        allow_capture(tmp_path / "gone")


def test_first_directory_is_the_one_that_is_written(tmp_path: Path, directory: Path) -> None:
    second = tmp_path / "second"
    second.mkdir(mode=0o755)
    set_verb(EditContext(PolicyPaths([directory, second])), "work", CAPTURE, ALLOW)
    assert (directory / USER_FILE).exists()
    assert not (second / USER_FILE).exists()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o444])
def test_mode_is_kept(directory: Path, mode: int) -> None:
    path = put(directory, HEAD + "- guest: work\n  capture: deny\n")
    path.chmod(mode)
    allow_capture(directory)
    assert path.stat().st_mode & 0o7777 == mode
    assert "allow" in path.read_text()


@needs_root
def test_group_is_kept(directory: Path) -> None:
    path = put(directory, HEAD + "- guest: work\n  capture: deny\n")
    os.chown(path, 0, 1234)
    allow_capture(directory)
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 1234)


@needs_root
def test_owner_is_kept(tmp_path: Path) -> None:
    path = put(tmp_path, "old")
    os.chown(path, 1234, 1234)
    atomic.replace(path, b"new")
    assert (path.read_text(), path.stat().st_uid, path.stat().st_gid) == ("new", 1234, 1234)


@pytest.mark.parametrize("call", ["fsync", "fchmod", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_failing_disk_changes_nothing_and_leaves_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    put(directory, HEAD + "- guest: work\n  capture: deny\n")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    if call == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(os, call, fail)
    assert refusal(directory) == (
        f"{directory}/30-user.yaml: {os.strerror(code)}; nothing was changed"
    )


def test_edit_interrupted_before_the_rename_leaves_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path = put(directory, HEAD + "- guest: work\n  capture: deny\n")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        allow_capture(directory)
    assert "deny" in path.read_text()
    assert left_behind(directory) == []


def test_file_left_by_a_killed_edit_is_ignored_and_removed(directory: Path) -> None:
    put(directory, HEAD + "- guest: work\n  capture: deny\n")
    (directory / ".30-user.yaml.new").write_text("half a")
    assert len(load([directory]).rules) == 1
    allow_capture(directory)
    assert left_behind(directory) == []


def test_lock_held_for_too_long_is_reported(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "LOCK_SECONDS", 0.05)
    with atomic.locked(directory / USER_FILE):
        assert refusal(directory) == (
            f"{directory}/30-user.yaml: locked by another program for 0 s; try again"
        )


def test_users_who_may_only_read_cannot_hold_the_lock(directory: Path) -> None:
    allow_capture(directory)
    assert (directory / ".30-user.yaml.lock").stat().st_mode & 0o7777 == 0o600
