"""The program xensnd-policy: its options and help, and how its errors become exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from policy.cli import log, prompt, rules, status
from policy.cli.program import BAD_POLICY, GOOD, NO_AGENT, PROGRAM, REFUSED, fail
from policy.model import Direction, Verb
from policy.paths import DEFAULT_DIRECTORY, DEFAULT_RUNTIME, QUBES_IDENTITIES, PolicyPaths
from xensnd.control.client import DEFAULT_SOCKET, ENVIRONMENT, NoAgentError
from xensnd.errors import PolicyError, XensndError
from xensnd.version import VERSION

_EXIT_STATUS = """\
exit status: 0 done or good, 1 the policy is bad, 2 wrong usage or refused, 3 no agent runs"""

_EPILOG = f"""\
GUEST is a name, a glob in quotes for many guests ('work-*'), uuid:UUID, tag:TAG or label:COLOUR;
on Qubes also class:CLASS, template:NAME or dispvm-of:NAME.
A change is written to 30-user.yaml in the first policy directory that can be written; comments and
layout stay. With --for, --until or --once it is a temporary grant, which ends by itself. The
running agent applies each change at once.

examples:
  {PROGRAM} allow-capture work             the guest 'work' may record
  {PROGRAM} allow-capture work --for 30m   the same, for half an hour
  {PROGRAM} ask-capture 'web-*'            ask me when one of these guests wants to record
  {PROGRAM} deny-playback tag:untrusted    guests with this tag cannot play
  {PROGRAM} explain work                   what applies to 'work', and which rule decides
  {PROGRAM} check                          after an edit by hand: what to fix, and where
  {PROGRAM} diff ./policy.d                what would change with these files
  {PROGRAM} status --watch                 who plays and who records now
  {PROGRAM} log --follow --guest work      what 'work' was allowed and denied, and why
  {PROGRAM} prompt                         answer questions here

A rule in a file looks like this. For each direction, the first rule that matches the guest and
names the direction decides.
  - guest: work
    playback: allow
    capture: deny

{_EXIT_STATUS}
see also: xensnd-policy(1), xensnd-policy.yaml(5)
"""

_EDIT_EPILOG = """\
TIME is HH:MM, which means the next time that clocks show this, or a date and time such as
2026-11-20T18:00. LENGTH is such as 30m, 2h or 1h30m. A permanent change revokes the grants that
oppose it. A newer grant replaces an older one. The limits that apply already (max-volume, device
and so on) stay.

examples:
  {program} {command} work
  {program} {command} 'work-*' --until 18:00
  {program} {command} work --once --for 10m

{status}
"""

_VERB_HELP = {
    Verb.ALLOW: "let a guest {action}",
    Verb.DENY: "do not let a guest {action}",
    Verb.ASK: "ask when a guest wants to {action}",
}
_ACTIONS = {Direction.CAPTURE: "record", Direction.PLAYBACK: "play sound"}


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return _run(arguments)
    except XensndError as error:
        return fail(_exit_status_of(error), error)
    except BrokenPipeError:  # such as: list | head
        _discard_stdout()
        return GOOD
    except OSError as error:
        _discard_stdout()
        return fail(REFUSED, f"{error.filename or 'standard output'}: {error.strerror}")
    except KeyboardInterrupt:
        return fail(REFUSED, "interrupted")


def _exit_status_of(error: XensndError) -> int:
    if isinstance(error, PolicyError):
        return BAD_POLICY
    return NO_AGENT if isinstance(error, NoAgentError) else REFUSED


def _run(arguments: Sequence[str] | None) -> int:
    stdout = sys.stdout if isinstance(sys.stdout, io.TextIOWrapper) else None  # None: was closed
    if stdout:
        stdout.reconfigure(errors="backslashreplace")
    try:
        options = parser().parse_args(arguments)
        options.paths = PolicyPaths.of_options(options.policy, options.runtime, options.identities)
        # The running agent uses this machine's policy, so it knows nothing about another one.
        is_agent_named = options.control or os.environ.get(ENVIRONMENT)
        options.has_agent = bool(is_agent_named or not options.policy)
        exit_status: int = options.run(options)
        return exit_status
    finally:
        if stdout:
            stdout.flush()


class _Parser(argparse.ArgumentParser):
    """A parser that prints an error as one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(fail(REFUSED, f"{message} (see {PROGRAM} --help)"))


def parser() -> argparse.ArgumentParser:
    program = _Parser(
        prog=PROGRAM,
        description="Set and show which guests may play sound and which may record.",
        epilog=_EPILOG,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=28),
        allow_abbrev=False,
    )
    program.add_argument(
        "--policy",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help=f"policy directory, may be given several times (default: {DEFAULT_DIRECTORY})",
    )
    program.add_argument(
        "--runtime",
        metavar="DIR",
        type=Path,
        help=f"directory of temporary grants (default: {DEFAULT_RUNTIME}; with --policy, none)",
    )
    program.add_argument(
        "--tags",
        metavar="FILE",
        type=Path,
        help="the tags and labels of guests (default: tags.yaml beside the policy directory)",
    )
    program.add_argument(
        "--identities",
        metavar="FILE|none",
        help="what xensnd-qubes knows of qubes "
        f"(default: {QUBES_IDENTITIES} on Qubes OS; with --policy, none)",
    )
    program.add_argument(
        "--control",
        metavar="PATH",
        type=Path,
        help=f"the running agent's socket (default: {ENVIRONMENT}, or {DEFAULT_SOCKET})",
    )
    program.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    commands = program.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(
        name: str, about: str, run: Callable[[argparse.Namespace], int], epilog: str = _EXIT_STATUS
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(run=run)
        return command

    for direction, action in _ACTIONS.items():
        for verb, about in _VERB_HELP.items():
            name = f"{verb}-{direction}"
            epilog = _EDIT_EPILOG.format(program=PROGRAM, command=name, status=_EXIT_STATUS)
            edit = add(name, about.format(action=action), rules.edit, epilog)
            edit.set_defaults(direction=direction, verb=verb)
            _add_times(edit)
    add("list", "show all rules, in the order in which they are checked", rules.show_list)
    add("check", "show what to fix in each bad file, and where", rules.check)
    _add_explain(
        add(
            "explain",
            "show what applies to a guest, and which rule decides",
            rules.show_explanation,
        )
    )
    diff = add("diff", "show what another policy directory would change", rules.show_diff)
    diff.add_argument("candidate", metavar="DIR", type=Path, help="the other policy directory")
    diff.add_argument(
        "--guest",
        metavar="NAME",
        action="append",
        help="a guest to compare, may be given several times (default: all that run or have rules)",
    )
    _add_live_commands(add)
    add("schema", "show the JSON schema of policy files, for editors", rules.show_schema)
    return program


def _add_times(edit: argparse.ArgumentParser) -> None:
    edit.add_argument(
        "guest",
        metavar="GUEST",
        help="a name, a glob in quotes, uuid:, tag:, label:, class:, template: or dispvm-of:",
    )
    end = edit.add_mutually_exclusive_group()
    end.add_argument(
        "--for", dest="length", metavar="LENGTH", help="end after 30m, 2h, 1h30m or the like"
    )
    end.add_argument("--until", metavar="TIME", help="end at 18:00 or 2026-11-20T18:00 or the like")
    edit.add_argument(
        "--once",
        action="store_true",
        help="for one stream; ends within a day if no end is given",
    )


def _add_explain(command: argparse.ArgumentParser) -> None:
    command.add_argument("guest", metavar="GUEST", help="a name")
    command.add_argument(
        "--direction", choices=[str(each) for each in Direction], help="only this direction"
    )
    command.add_argument("--uuid", metavar="UUID", help="as if the guest had this UUID")
    command.add_argument(
        "--label", metavar="COLOUR", help="as if the guest had this label; '': none"
    )
    command.add_argument(
        "--tag", metavar="TAG", action="append", help="as if the guest had these tags; '': none"
    )
    command.add_argument(
        "--class", dest="qube_class", metavar="CLASS", help="as if the qube were of this class"
    )
    command.add_argument(
        "--template", metavar="NAME", help="as if the qube had this template; '': none"
    )
    command.add_argument(
        "--dispvm-of", metavar="NAME", help="as if it were a disposable of this qube; '': of none"
    )


def _add_live_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that ask the running agent, or read what it wrote."""
    _add_status(
        add("status", "show the guests, their streams, and who records", status.show_status)
    )
    for name, about, run in (
        ("mute", "mute a guest until unmute, as long as it runs", status.mute),
        ("unmute", "undo mute", status.unmute),
        ("volume", "set the volume of a guest, as long as it runs", status.volume),
    ):
        change = add(name, about, run)
        change.add_argument("guest", metavar="GUEST", help="the name of a guest that runs")
        if name == "volume":
            change.add_argument("percent", metavar="PERCENT", help="0%% to 100%%")
        change.add_argument(
            "--direction",
            choices=[str(each) for each in Direction],
            default=str(Direction.PLAYBACK),
            help="default: playback",
        )
    release = add("release", "serve a guest again that is in quarantine", status.release)
    release.add_argument("guest", metavar="GUEST", help="the name of a guest that runs")
    _add_log(add("log", "show the audit trail: what was allowed and denied, and why", log.show_log))
    _add_prompt(
        add("prompt", "answer the questions of guests that want to play or record", prompt.prompt)
    )


def _add_status(command: argparse.ArgumentParser) -> None:
    how = command.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="redraw it five times a second")
    how.add_argument("--json", action="store_true", help="as JSON; see docs/control.md")
    how.add_argument(
        "--names", action="store_true", help="only the names of guests, for shell completion"
    )


def _add_log(command: argparse.ArgumentParser) -> None:
    command.add_argument("--follow", action="store_true", help="show new events as they happen")
    command.add_argument(
        "--since", metavar="TIME", help="such as 30m (ago), 18:00 (today), 2026-11-20T18:00"
    )
    command.add_argument("--guest", metavar="NAME", help="only events of this guest")
    command.add_argument(
        "--json", action="store_true", help="one JSON object a line, with all fields"
    )
    command.add_argument(
        "--verify",
        action="store_true",
        help="say whether events are missing, by their numbers; exit status 1: some are",
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--file", metavar="AUDIT", type=Path, help="read this audit file of xensnd-dom0"
    )
    where.add_argument(
        "--directory", metavar="DIR", type=Path, help="read the journal files in this directory"
    )


def _add_prompt(command: argparse.ArgumentParser) -> None:
    command.add_argument("--list", action="store_true", help="show the open questions, and exit")
    command.add_argument(
        "id",
        metavar="ID",
        nargs="?",
        type=int,
        help="the question; without ID, answer on a terminal",
    )
    command.add_argument("answer", metavar="ANSWER", nargs="?", help=prompt.HINT)
    command.add_argument(
        "length", metavar="SECONDS", nargs="*", help="with for: such as 30m (default), 2h, 90"
    )


def _discard_stdout() -> None:
    """Drops output that could not be written, so that Python prints no error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
