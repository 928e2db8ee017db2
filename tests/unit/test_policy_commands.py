"""What each command says, and how it ends: the same program as a call. See also test_policy_cli."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policy.cli.main import main
from policy.edit import grants
from tests.support.policy_tool import COMMANDS, HEAD, PolicyTool, Run

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Tool(PolicyTool):
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Run:
        try:
            status = main(["--policy", str(self.directory), *arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        return Run(status, *self.capture.readouterr())


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    directory = tmp_path / "policy.d"
    directory.mkdir()
    directory.chmod(0o755)
    shutil.copyfile(ROOT / "policy/defaults/90-default.yaml", directory / "90-default.yaml")
    (directory / "90-default.yaml").chmod(0o644)
    return Tool(directory, capsys)


# Temporary grants


def in_an_hour() -> str:
    """A date and time in whole minutes, as a file has it."""
    moment = datetime.now(UTC).astimezone() + timedelta(hours=1)
    return moment.replace(second=0, microsecond=0).isoformat(timespec="minutes")


def test_grant_shows_when_it_ends(tool: Tool) -> None:
    until = in_an_hour()
    assert tool.granting("allow-capture", "work", f"--until={until}") == Run(
        0, f"work: capture allow, until: {until} ({tool.grants_file}:5)\n", ""
    )
    assert f"capture allow ({tool.grants_file}:5)" in tool.granting("explain", "work").out
    assert not tool.user_file.exists()


def test_grant_for_a_length_of_time_ends_after_it(tool: Tool) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert tool.granting("ask-playback", "work", "--for", "1h30m").status == 0
    (rule,) = grants.read(tool.runtime)
    assert rule.ends is not None
    late = rule.ends - before - timedelta(minutes=90)
    assert timedelta(0) <= late < timedelta(seconds=30)
    assert rule.playback == "ask"


def test_grant_until_a_time_of_day_ends_when_clocks_next_show_it(tool: Tool) -> None:
    assert tool.granting("allow-capture", "work", "--until", "18:00").status == 0
    (rule,) = grants.read(tool.runtime)
    assert rule.ends is not None
    assert rule.ends.astimezone().strftime("%H:%M:%S") == "18:00:00"
    assert timedelta(0) < rule.ends - datetime.now(UTC) < timedelta(hours=25)


def test_once_ends_within_a_day_if_no_end_is_given(tool: Tool) -> None:
    assert ", once: true (" in tool.granting("allow-capture", "work", "--once").out
    (rule,) = grants.read(tool.runtime)
    assert (rule.once, rule.taken_by) == (True, None)
    assert rule.ends is not None
    assert timedelta(hours=23) < rule.ends - datetime.now(UTC) < timedelta(hours=25)
    assert tool.granting("allow-capture", "work", "--once", "--for", "10m").status == 0
    (rule,) = grants.read(tool.runtime)
    assert rule.once
    assert rule.ends is not None
    assert rule.ends - datetime.now(UTC) < timedelta(minutes=11)


def test_permanent_denial_revokes_the_grant_and_says_so(tool: Tool) -> None:
    until = in_an_hour()
    tool.granting("allow-capture", "work", f"--until={until}")
    (rule,) = grants.read(tool.runtime)
    assert tool.granting("deny-capture", "work").out == (
        f"work: capture deny ({tool.user_file}:6)\n  grant revoked: {rule.text}\n"
    )
    assert grants.read(tool.runtime) == ()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["--for", "30"], "--for '30' is not a length of time (write such as 30m, 2h or 1h30m; the "
         "units are d, h, m and s, in this order)"),
        (["--until", "2001-01-01T00:00"], "that time has passed; nothing was changed"),
        (["--until", "25:00"], "--until '25:00' is not a date and time (write such as "
         "2026-11-20T18:00; without Z or +01:00 at the end it is local time)"),
        (["--for", "1h", "--until", "18:00"],
         "argument --until: not allowed with argument --for (see xensnd-policy --help)"),
    ],
)  # fmt: skip
def test_wrong_time_is_refused(tool: Tool, times: list[str], message: str) -> None:
    assert tool.granting("allow-capture", "work", *times) == Run(
        2, "", f"xensnd-policy: {message}\n"
    )
    assert not tool.runtime.exists()


def test_grant_needs_a_runtime_directory_if_the_policy_is_not_the_machines_own(tool: Tool) -> None:
    assert tool("allow-capture", "work", "--for", "5m") == Run(
        2,
        "",
        "xensnd-policy: no directory for temporary grants; name one with --runtime\n",
    )


# What holds


def test_list_shows_the_rules_in_the_order_in_which_they_are_checked(tool: Tool) -> None:
    tool.put(HEAD + "- {guest: work, capture: allow}\n")
    where = tool.directory
    assert tool("list") == Run(
        0,
        "GUEST  PLAYBACK  CAPTURE  RULE\n"
        f"work   -         allow    {where}/30-user.yaml:3\n"
        f"*      allow     deny     {where}/90-default.yaml:14\n",
        "",
    )


def test_explain_shows_which_rule_decides_and_why_others_do_not(tool: Tool) -> None:
    user = tool.put(HEAD + "- {guest: work, capture: allow}\n- {guest: x, capture: deny}\n")
    default = tool.directory / "90-default.yaml"
    assert tool("explain", "work").out == (
        f"work: playback allow ({default}:14)\n"
        f"  {user}:3: guest: work, capture: allow\n"
        "    skipped: it does not name this direction\n"
        f"  {default}:14: guest: '*', playback: allow, capture: deny\n"
        "    decides: the first rule that matches and names this direction\n"
        f"work: capture allow ({user}:3)\n"
        f"  {user}:3: guest: work, capture: allow\n"
        "    decides: the first rule that matches and names this direction\n"
        f"  {default}:14: guest: '*', playback: allow, capture: deny\n"
        "    not checked: a rule above decides\n"
        "1 other rule for other guests\n"
    )


def test_explain_says_that_no_rule_decides(tool: Tool) -> None:
    (tool.directory / "90-default.yaml").unlink()
    assert tool("explain", "work").out == (
        "work: playback deny (no rule)\n"
        "  no rule matches and names playback, so it is denied\n"
        "work: capture deny (no rule)\n"
        "  no rule matches and names capture, so it is denied\n"
        "0 other rules for other guests\n"
    )


def test_check_of_a_good_policy_shows_its_files(tool: Tool) -> None:
    assert tool("check") == Run(
        0, f"good: 1 rule in 1 file\n  {tool.directory}/90-default.yaml\n", ""
    )


def test_check_has_one_line_for_each_bad_file(tool: Tool) -> None:
    one = tool.put(HEAD + "- {guest: a, captur: deny, x: y}\n", "10-a.yaml")
    two = tool.put(HEAD + "- {guest: a, capture: yes}\n", "20-b.yaml")
    assert tool("check") == Run(
        1,
        "",
        f"xensnd-policy: {one}:3:14: unknown key 'captur' (did you mean 'capture'?)\n"
        f"xensnd-policy: {two}:3:23: capture: 'yes' is not allow, deny or ask (write allow)\n",
    )


def test_list_shows_limits_and_times(tool: Tool) -> None:
    path = tool.put(
        HEAD + "- {guest: work, capture: ask, max-volume: 80%}\n"
        "- {guest: x, capture: allow, until: 2001-01-01T00:00Z}\n"
    )
    assert tool("list").out == (
        "GUEST  PLAYBACK  CAPTURE  CONDITIONS                             RULE\n"
        f"work   -         ask      max-volume: 80%                        {path}:3\n"
        f"x      -         allow    until: 2001-01-01T00:00+00:00 (ended)  {path}:4\n"
        f"*      allow     deny                                            {tool.directory}"
        "/90-default.yaml:14\n"
    )


def test_explain_of_one_direction(tool: Tool) -> None:
    default = tool.directory / "90-default.yaml"
    assert tool("explain", "work", "--direction", "capture").out == (
        f"work: capture deny ({default}:14)\n"
        f"  {default}:14: guest: '*', playback: allow, capture: deny\n"
        "    decides: the first rule that matches and names this direction\n"
        "0 other rules for other guests\n"
    )


def test_explain_says_what_is_not_known_and_takes_it_as_an_option(tool: Tool) -> None:
    path = tool.put(HEAD + "- {guest: tag:calls, playback: deny}\n")
    said = tool("explain", "work", "--direction", "playback").out
    assert said.startswith(
        f"work: playback deny ({path}:3)\n"
        f"  {path}:3: guest: tag:calls, playback: deny\n"
        "    denies: it does not allow, and it is not known whether it matches\n"
        "    give the guest's tag with --tag calls, or in tags.yaml\n"
    )
    assert "work: playback allow" in tool("explain", "work", "--tag", "").out
    assert "work: playback deny" in tool("explain", "work", "--tag", "calls").out
    assert tool("explain", "work", "--uuid", "1").err == (
        "xensnd-policy: --uuid '1' is not uuid: and 8-4-4-4-12 hexadecimal digits in lower case\n"
    )


def test_tags_beside_the_policy_directory_are_read(tool: Tool) -> None:
    tool.put(HEAD + "- {guest: tag:calls, playback: deny}\n")
    tags = tool.put("version: 1\nguests:\n- {guest: mail, tags: [calls]}\n", "../tags.yaml")
    assert "work: playback allow" in tool("explain", "work").out
    assert "mail: playback deny" in tool("explain", "mail").out
    tags.write_text("version: 1\nguests: mail\n")
    assert tool("check") == Run(
        1,
        "",
        f"xensnd-policy: {tool.directory.parent}/tags.yaml:2:9: guests must be a list, got 'mail' "
        "(start each item with '- ', or write 'guests: []' for none)\n",
    )


QUBES = (
    "version: 1\nguests:\n"
    "- {guest: disp1, class: DispVM, label: red, template: debian-12, tags: [a, b]}\n"
)


def test_what_qubes_says_of_a_guest_is_shown_and_decides(tool: Tool) -> None:
    tool.put(HEAD + "- {guest: class:DispVM, playback: deny}\n")
    qubes = tool.put(QUBES, "../guests.yaml")
    shown = tool(f"--identities={qubes}", "explain", "disp1", "--direction=playback").out
    assert shown.startswith(
        "disp1: class DispVM, template debian-12, label red, tag a b\ndisp1: playback deny ("
    )
    assert "playback deny" in tool(f"--identities={qubes}", "explain", "new").out
    given = ("explain", "work", "--class=AppVM", "--template=", "--dispvm-of=", "--label=blue")
    assert tool(*given).out.startswith("work: class AppVM, label blue\nwork: playback allow (")


def test_check_says_which_rules_compare_what_is_not_known(tool: Tool) -> None:
    file = tool.put(HEAD + "- {guest: class:DispVM, playback: deny}\n")
    effect = "while that is so, the rule denies what it does not allow, and allows nothing\n"
    rule = f"{file}:3: class:DispVM: class is not known here"
    assert tool("check").out.endswith(f"{rule} (only Qubes OS has it); {effect}")
    gone = tool.directory.parent / "gone.yaml"
    why = f"{gone} is missing; start xensnd-qubes"
    run = tool(f"--identities={gone}", "check")
    assert (run.status, run.out.endswith(f"{rule} ({why}); {effect}")) == (0, True)
    qubes = tool.put(QUBES, "../guests.yaml")
    assert "not known" not in tool(f"--identities={qubes}", "check").out


def test_rule_that_has_the_kind_as_a_key_says_how_it_is_written(tool: Tool) -> None:
    tool.put(HEAD + "- {class: DispVM, playback: deny}\n")
    assert "unknown key 'class' (write guest: class:...)" in tool("check").err


def test_tags_file_that_is_named_must_be_there(tool: Tool, tmp_path: Path) -> None:
    run = tool("--tags", str(tmp_path / "gone.yaml"), "explain", "work")
    assert (run.status, run.err.split(": ")[1]) == (1, f"{tmp_path}/gone.yaml")


def test_diff_shows_what_another_directory_would_change(tool: Tool, tmp_path: Path) -> None:
    user = tool.put(HEAD + "- {guest: work, capture: allow}\n- {guest: home, capture: deny}\n")
    candidate = Tool(tmp_path / "candidate", tool.capture)
    candidate.directory.mkdir(mode=0o755)
    new = candidate.put(
        HEAD + "- {guest: work, capture: allow, max-streams: 1}\n"
        "- {guest: '*', playback: allow, capture: deny}\n"
    )
    where = str(candidate.directory)
    assert tool("diff", where) == Run(
        0,
        f"work: capture allow ({user}:3) -> allow, max-streams: 1 ({new}:3)\n"
        "1 change for 2 guests (those that rules name; name others with --guest)\n",
        "",
    )
    assert tool("diff", where, "--guest", "home").out == "0 changes for 1 guest\n"
    assert tool("diff", str(tmp_path / "gone")).status == 1


def test_schema_is_printed(tool: Tool) -> None:
    assert tool("schema").out == (ROOT / "docs/policy.schema.json").read_text()


@pytest.mark.parametrize("command", [*COMMANDS, "list", "check", "explain", "diff", "schema"])
def test_help_of_every_command_explains_the_exit_status(tool: Tool, command: str) -> None:
    help_text = tool(command, "--help").out
    assert "exit status: 0 done or good, 1 the policy is bad, 2 wrong usage" in help_text
    if command in COMMANDS:
        assert f"xensnd-policy {command} work --once --for 10m" in help_text
