"""Which files are policy files, in which order, and which are refused before they are parsed."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from policy.language import files
from policy.language.loader import load, parse, problems
from xensnd.errors import PolicyError

RULES = "version: 1\nrules:\n  - guest: {guest}\n    capture: deny\n"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away: needs root")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return made(tmp_path / "policy.d")


def made(directory: Path) -> Path:
    directory.mkdir()
    directory.chmod(0o755)
    return directory


def put(path: Path, guest: str = "a", mode: int = 0o644) -> Path:
    path.write_text(RULES.format(guest=guest))
    path.chmod(mode)
    return path


def refused(*directories: Path) -> str:
    with pytest.raises(PolicyError) as caught:
        load(directories)
    assert problems(directories)[0] == str(caught.value)
    return str(caught.value)


def test_files_are_read_in_the_order_of_their_names_over_all_directories(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    put(one / "90-z.yaml", "fifth")
    put(two / "10-b.yaml", "second")
    put(one / "10-B.yaml", "first")
    put(one / "30-user.yaml", "third")
    put(two / "30-user.yaml", "fourth")
    policy = load([one, two])
    assert [rule.guest for rule in policy.rules] == [
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
    ]
    assert policy.files[2:4] == (one / "30-user.yaml", two / "30-user.yaml")


def test_directory_given_twice_is_read_once(directory: Path) -> None:
    put(directory / "10-a.yaml")
    assert len(load([directory, directory]).rules) == 1


def test_empty_directory_is_a_policy_without_rules(directory: Path) -> None:
    assert load([directory]).rules == ()


@pytest.mark.parametrize(
    "name",
    [".10-a.yaml", ".10-a.yaml.swp", "10-a.yaml~", "10-a.yaml.dpkg-old", "10-a.yaml.off", "README",
     "#10-a.yaml#", ".#10-a.yaml"],
)  # fmt: skip
def test_what_editors_and_packagers_leave_behind_is_ignored(directory: Path, name: str) -> None:
    (directory / name).write_bytes(b"\xff")
    assert load([directory]).files == ()


@pytest.mark.parametrize("name", ["foo.yaml", "1-a.yaml", "10-a.yml", "10-A.YAML", "10-a b.yaml"])
def test_name_that_looks_like_policy_but_has_no_place_is_refused(
    directory: Path, name: str
) -> None:
    put(directory / name)
    assert refused(directory) == (
        f"{directory / name}: its name is not NN-name.yaml, so it has no place in the order "
        "(rename it, such as 50-name.yaml, or append .off to disable it)"
    )


def test_name_that_would_break_the_line_is_escaped(directory: Path) -> None:
    put(directory / "10-a\n.yaml")
    assert refused(directory).startswith(f"{directory}/10-a\\n.yaml: its name is not")


def test_missing_directory_is_refused_even_beside_another(tmp_path: Path, directory: Path) -> None:
    put(directory / "10-a.yaml")
    assert refused(directory, tmp_path / "gone") == (
        f"{tmp_path / 'gone'}: no such policy directory (create it, or name another with --policy)"
    )


def test_file_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "10-a.yaml")
    assert refused(path) == f"{path}: cannot be read: Not a directory"


def test_directory_in_place_of_a_file_is_refused(directory: Path) -> None:
    (directory / "10-a.yaml").mkdir()
    assert refused(directory) == (
        f"{directory}/10-a.yaml: not a regular file (remove or rename it)"
    )


def test_fifo_is_refused_without_waiting_for_its_writer(directory: Path) -> None:
    os.mkfifo(directory / "10-a.yaml")
    assert refused(directory) == (
        f"{directory}/10-a.yaml: not a regular file (remove or rename it)"
    )


def test_socket_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("10-a.yaml")
        assert refused(directory) == (
            f"{directory}/10-a.yaml: cannot be read: No such device or address"
        )


def test_link_to_a_policy_file_is_followed(tmp_path: Path, directory: Path) -> None:
    (directory / "10-a.yaml").symlink_to(put(tmp_path / "elsewhere"))
    assert load([directory]).rules[0].file == directory / "10-a.yaml"


def test_broken_link_is_refused(directory: Path) -> None:
    (directory / "10-a.yaml").symlink_to("nothing")
    assert refused(directory) == (
        f"{directory}/10-a.yaml: a broken link, or just removed (remove the link, or try again)"
    )


def test_link_to_itself_is_refused(directory: Path) -> None:
    (directory / "10-a.yaml").symlink_to("10-a.yaml")
    assert refused(directory) == (
        f"{directory}/10-a.yaml: cannot be read: Too many levels of symbolic links"
    )


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_file_that_others_may_write_is_refused(directory: Path, mode: int) -> None:
    path = put(directory / "10-a.yaml", mode=mode)
    assert refused(directory) == (
        f"{path}: mode {mode:04o}, so others could change it (fix with: chmod go-w {path})"
    )


def test_directory_that_others_may_write_is_refused(directory: Path) -> None:
    directory.chmod(0o775)
    assert refused(directory) == (
        f"{directory}: mode 0775, so others could change it (fix with: chmod go-w {directory})"
    )


@needs_root
def test_file_of_another_user_is_refused(directory: Path) -> None:
    path = put(directory / "10-a.yaml")
    os.chown(path, 1000, 1000)
    assert refused(directory) == (
        f"{path}: owned by uid 1000, not by root, so others could change it "
        f"(fix with: chown root {path})"
    )


def test_file_larger_than_the_bound_is_refused(directory: Path) -> None:
    path = put(directory / "10-a.yaml")
    os.truncate(path, 100 << 20)
    assert refused(directory) == f"{path}: larger than 1048576 octets (split it, or use globs)"


def test_file_of_a_hundred_megabytes_is_refused_without_reading_it(directory: Path) -> None:
    path = directory / "10-a.yaml"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(b"# filler\n" * ((1 << 20) // 9))
    path.chmod(0o644)
    start = time.process_time()
    assert refused(directory) == f"{path}: larger than 1048576 octets (split it, or use globs)"
    assert time.process_time() - start < 0.5


def test_largest_file_of_the_deepest_nesting_is_refused(directory: Path) -> None:
    path = put(directory / "10-a.yaml")
    path.write_text("[" * files.MAX_OCTETS)
    assert refused(directory) == f"{path}:1:9: nested deeper than 8 levels"


def test_runtime_directory_is_checked_in_the_same_way(tmp_path: Path, directory: Path) -> None:
    runtime = made(tmp_path / "run")
    put(runtime / "50-a.yaml", "b")
    assert [rule.guest for rule in load([directory], runtime=runtime).rules] == ["b"]
    runtime.chmod(0o777)
    message = f"{runtime}: mode 0777, so others could change it (fix with: chmod go-w {runtime})"
    assert problems([directory], runtime=runtime) == (message,)
    runtime.chmod(0o755)
    (runtime / "00-grants.yaml").symlink_to("nothing")
    message = (
        f"{runtime}/00-grants.yaml: a broken link, or just removed (remove the link, or try again)"
    )
    assert problems([directory], runtime=runtime) == (message,)


def test_runtime_directory_that_is_a_broken_link_is_refused(
    tmp_path: Path, directory: Path
) -> None:
    (tmp_path / "run").symlink_to("nothing")
    with pytest.raises(PolicyError, match="no such policy directory"):
        load([directory], runtime=tmp_path / "run")


def test_problems_has_one_line_for_each_bad_file_and_directory(
    tmp_path: Path, directory: Path
) -> None:
    put(directory / "20-good.yaml")
    put(directory / "10-b.yaml").write_text("version: 2\nrules: x")
    put(directory / "30-c.yaml").write_text("x")
    lines = problems([directory, tmp_path / "gone"])
    assert [line.removeprefix(str(tmp_path)).split(": ")[0] for line in lines] == [
        "/gone",
        "/policy.d/10-b.yaml:1:10",
        "/policy.d/30-c.yaml:1:1",
    ]


def test_good_policy_has_no_problems(directory: Path) -> None:
    put(directory / "20-good.yaml")
    assert problems([directory]) == ()


def test_shipped_default_lets_everyone_play_and_nobody_record() -> None:
    path = Path(__file__).parents[2] / "policy/defaults/90-default.yaml"
    (rule,) = parse(path.read_bytes(), path)
    assert rule.text == "guest: '*', playback: allow, capture: deny"
