"""The command line: xensnd-policy."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from policy.editor import set_verb
from policy.engine import explain
from policy.guests import complaint
from policy.loader import load, problems
from policy.model import Direction, Rule, Verb
from policy.places import shown, shown_path
from xensnd.errors import PolicyError, UsageError

PROGRAM = "xensnd-policy"
DEFAULT_DIRECTORY = Path("/etc/xensnd/policy.d")

GOOD, BAD_POLICY, REFUSED = 0, 1, 2

_EPILOG = f"""\
GUEST is a name, or a glob in quotes for many: 'work-*'. The change goes into 30-user.yaml of the
first policy directory that can be written; comments and layout stay. The running agent follows
by itself, at once.

examples:
  {PROGRAM} allow-capture work        the guest 'work' may record
  {PROGRAM} deny-playback 'dvm-*'     guests whose name starts with dvm- make no sound
  {PROGRAM} explain work              what holds for 'work', and which line says so
  {PROGRAM} check                     after an edit by hand: what to mend, and where

A rule in a file looks like this; the first rule that matches and speaks of the direction decides:
  - guest: work
    playback: allow
    capture: deny

exit status: 0 done or good, 1 the policy is bad, 2 wrong usage or the change was refused
"""


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return _run(arguments)
    except PolicyError as error:
        return _fail(BAD_POLICY, error)
    except UsageError as error:
        return _fail(REFUSED, error)
    except BrokenPipeError:  # as in: list | head
        _discard_stdout()
        return GOOD
    except OSError as error:
        _discard_stdout()
        return _fail(REFUSED, f"{error.filename or 'standard output'}: {error.strerror}")
    except KeyboardInterrupt:
        return _fail(REFUSED, "interrupted")


def _run(arguments: Sequence[str] | None) -> int:
    stdout = sys.stdout if isinstance(sys.stdout, io.TextIOWrapper) else None  # None: was closed
    if stdout:
        stdout.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        options.policy = options.policy or [DEFAULT_DIRECTORY]
        status: int = options.run(options)
        return status
    finally:
        if stdout:
            stdout.flush()


def _edit(options: argparse.Namespace) -> int:
    direction, verb = options.direction, options.verb
    edit = set_verb(options.policy, options.guest, direction, verb)
    print(f"{options.guest}: {direction} {verb} ({edit.rule.source})")
    for rule in edit.exceptions:
        print(f"  except {rule.guest}: {direction} {rule.verb(direction)} ({rule.source})")
    return GOOD


def _list(options: argparse.Namespace) -> int:
    rules = load(options.policy).rules
    rows = [("GUEST", *(direction.upper() for direction in Direction), "RULE"), *map(_row, rules)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return GOOD


def _row(rule: Rule) -> tuple[str, ...]:
    return (rule.guest, *(rule.verb(direction) or "-" for direction in Direction), rule.source)


def _check(options: argparse.Namespace) -> int:
    found = problems(options.policy)
    for problem in found:
        _fail(BAD_POLICY, problem)
    if found:
        return BAD_POLICY
    policy = load(options.policy)
    print(f"good: {_count(policy.rules, 'rule')} in {_count(policy.files, 'file')}")
    for file in policy.files:
        print(f"  {shown_path(file)}")
    return GOOD


def _explain(options: argparse.Namespace) -> int:
    guest = options.guest
    if not guest or not guest.isprintable():
        raise UsageError(f"guest {shown(guest)} {complaint(guest)}")
    policy = load(options.policy)
    for direction in Direction:
        explanation = explain(policy, guest, direction)
        decision = explanation.decision
        print(f"{guest}: {direction} {decision.verb} ({decision.source})")
        for rule, part in explanation.parts:
            print(f"  {rule.source}: {rule.text}")
            print(f"    {part}")
        if decision.rule is None:
            print(f"  {decision.reason}, so it is denied")
    others = len(policy.rules) - len(explanation.parts)
    print(f"{_count(range(others), 'other rule')} for other guests")
    return GOOD


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


class _Parser(argparse.ArgumentParser):
    """argparse, its errors on one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_fail(REFUSED, f"{message} (see {PROGRAM} --help)"))


class _Version(argparse.Action):
    """Looked up when asked for: it takes longer than all the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        from importlib import metadata  # noqa: PLC0415 - see above

        try:
            version = metadata.version("xensnd")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"{PROGRAM} {version}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Say which guest may play sound and which may record, and see what holds.",
        epilog=_EPILOG,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=28),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--policy",
        metavar="DIR",
        type=Path,
        action="append",
        help=f"policy directory, may be given several times (default: {DEFAULT_DIRECTORY})",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for direction, may in ((Direction.CAPTURE, "record"), (Direction.PLAYBACK, "play sound")):
        for verb, so in ((Verb.ALLOW, "let"), (Verb.DENY, "do not let")):
            edit = commands.add_parser(f"{verb}-{direction}", help=f"{so} a guest {may}")
            edit.add_argument("guest", metavar="GUEST", help="a name, or a glob in quotes")
            edit.set_defaults(run=_edit, direction=direction, verb=verb)
    show = commands.add_parser("list", help="show all rules, in the order they are asked")
    show.set_defaults(run=_list)
    check = commands.add_parser("check", help="say of each bad file what to mend, and where")
    check.set_defaults(run=_check)
    why = commands.add_parser("explain", help="show what holds for a guest, and which rule says so")
    why.add_argument("guest", metavar="GUEST", help="a name")
    why.set_defaults(run=_explain)
    return parser


def _fail(status: int, message: object) -> int:
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    return status


def _discard_stdout() -> None:
    """What could not be written is given up, so that nothing complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
